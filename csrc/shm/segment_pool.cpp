#include "shm/segment_pool.h"

#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "errors.h"
#include "parallel/per_process.h"

namespace tensorlift {
namespace {

// A loader's worker has a batch in the making, those on their way (prefetch_factor, 2 by default),
// and one that the consumer works on; each has a segment for each large tensor and a few for small
// ones. Segments that the consumer keeps are forgotten here.
constexpr std::size_t kMaxSegments = 128;

// As many may be on their way, for they cannot be forgotten before they are received.
constexpr std::size_t kMaxOffered = 256;

// What may lie idle: so much, and what four batches need.
constexpr std::size_t kMaxIdleBytes = 64 << 20;

class SegmentPool {
 public:
  // One that nobody holds but the caller; nullptr where there are none.
  std::shared_ptr<Segment> take(std::size_t nbytes) {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<Segment> segment = take_fitting(nbytes);
    forget_surplus(nbytes);
    if (segment == nullptr) segment = make(nbytes);
    if (segment != nullptr && segment->populate(nbytes)) return segment;
    // No memory or no file: perhaps there is what others of ours have, for us or for torch's way.
    forget_idle([](const Segment&) { return true; });
    if (segment == nullptr || segment->populate(nbytes)) return segment;
    segment->let_go();
    segments_.remove(segment);
    return nullptr;
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    forget_idle([](const Segment&) { return true; });
  }

  std::size_t idle_bytes() {
    const std::lock_guard lock(mutex_);
    std::size_t bytes = 0;
    for (const auto& segment : segments_) bytes += segment->is_free() ? segment->capacity() : 0;
    return bytes;
  }

 private:
  // The smallest that is large enough, but not so large that most of it is wasted.
  std::shared_ptr<Segment> take_fitting(std::size_t nbytes) {
    auto best = segments_.end();
    for (auto it = segments_.begin(); it != segments_.end(); ++it) {
      const std::size_t capacity = (*it)->capacity();
      if (!(*it)->is_free() || capacity < nbytes || capacity / 4 > nbytes) continue;
      if (best == segments_.end() || capacity < (*best)->capacity()) best = it;
    }
    if (best == segments_.end() || !(*best)->take()) return nullptr;
    segments_.splice(segments_.end(), segments_, best);
    return segments_.back();
  }

  std::shared_ptr<Segment> make(std::size_t nbytes) {
    if (segments_.size() >= kMaxOffered) return nullptr;
    // Somewhat more, for batches of varying size; memory that is not written is not there.
    std::optional<Segment> made = Segment::make(nbytes + nbytes / 8);
    if (!made) return nullptr;
    auto segment = std::make_shared<Segment>(*std::move(made));
    if (!segment->take()) throw InternalError("a segment is held before anybody knows it");
    segments_.push_back(segment);
    return segment;
  }

  void forget_surplus(std::size_t nbytes) {
    std::size_t idle = 0;
    for (const auto& segment : segments_) idle += segment->is_free() ? segment->capacity() : 0;
    const std::size_t limit = kMaxIdleBytes + 4 * nbytes;
    forget_idle([&](const Segment& segment) {  // those that were used longest ago first
      if (segment.is_retired()) return true;
      if (!segment.is_free()) return segments_.size() >= kMaxSegments;
      if (idle <= limit && segments_.size() < kMaxSegments) return false;
      idle -= segment.capacity();
      return true;
    });
  }

  // Those that this process holds or has offered are needed, whatever others do with them.
  template <typename Predicate>
  void forget_idle(Predicate is_to_go) {
    for (auto it = segments_.begin(); it != segments_.end();) {
      const bool is_held_here = it->use_count() > 1;
      const bool goes = !is_held_here && !(*it)->is_offered() && is_to_go(**it);
      if (goes) (*it)->retire();  // whoever maps it need not keep it for a next time
      it = goes ? segments_.erase(it) : std::next(it);
    }
  }

  std::mutex mutex_;
  std::list<std::shared_ptr<Segment>> segments_;  // the one used last at the end
};

PerProcess<SegmentPool> pool;

}  // namespace

SegmentHoldPtr allocate_segment(std::size_t nbytes) {
  std::shared_ptr<Segment> segment = pool.get().take(nbytes);
  if (segment == nullptr) return {};
  return hold_on(std::move(segment), nbytes,
                 [](std::shared_ptr<Segment>) noexcept {});  // the pool looks when it needs
}

void empty_segment_pool() { pool.get().clear(); }

std::size_t idle_segment_bytes() { return pool.get().idle_bytes(); }

}  // namespace tensorlift
