#include "received_segments.h"

#include <algorithm>
#include <list>
#include <memory>
#include <mutex>
#include <utility>

#include "errors.h"
#include "per_process.h"
#include "segment_hold.h"

namespace tensorlift {
namespace {

// What is kept mapped of processes that live. It is memory of theirs; should they end now, it is
// ours until we look again, at the next batch or when one dies.
constexpr std::size_t kMaxIdleBytes = 256 << 20;

class ReceivedSegments {
 public:
  std::shared_ptr<Segment> find_or_map(const SegmentOffer& offer,
                                       c10::function_ref<FileDescriptor()> open) {
    {
      const std::lock_guard lock(mutex_);
      for (const auto& segment : segments_) {
        if (segment->is_offered_by(offer)) return segment;
      }
    }
    const FileDescriptor file = open();
    auto segment = std::make_shared<Segment>(Segment::open(file, offer));
    const std::lock_guard lock(mutex_);
    segments_.push_back(segment);
    return segment;
  }

  // `segment` was let go of.
  void give(std::shared_ptr<Segment> segment) {
    const std::lock_guard lock(mutex_);
    const auto place = std::find(segments_.begin(), segments_.end(), segment);
    segment.reset();
    if (place != segments_.end()) segments_.splice(segments_.end(), segments_, place);
    std::size_t idle = idle_bytes_locked();
    forget_idle([&idle](const Segment& candidate) {  // those that were used longest ago first
      if (idle <= kMaxIdleBytes && !candidate.is_retired() && candidate.owner_lives()) return false;
      idle -= candidate.capacity();
      return true;
    });
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    forget_idle([](const Segment&) { return true; });
  }

  std::size_t idle_bytes() {
    const std::lock_guard lock(mutex_);
    return idle_bytes_locked();
  }

 private:
  static bool is_idle(const std::shared_ptr<Segment>& segment) { return segment.use_count() == 1; }

  std::size_t idle_bytes_locked() const {
    std::size_t bytes = 0;
    for (const auto& segment : segments_) bytes += is_idle(segment) ? segment->capacity() : 0;
    return bytes;
  }

  template <typename Predicate>
  void forget_idle(Predicate is_to_go) {
    segments_.remove_if(
        [&](const auto& segment) { return is_idle(segment) && is_to_go(*segment); });
  }

  std::mutex mutex_;
  std::list<std::shared_ptr<Segment>> segments_;  // the one let go of last at the end
};

PerProcess<ReceivedSegments> received;

void give(std::shared_ptr<Segment> segment) { received.get().give(std::move(segment)); }

}  // namespace

c10::DataPtr accept_segment(const SegmentOffer& offer, c10::function_ref<FileDescriptor()> open) {
  std::shared_ptr<Segment> segment = received.get().find_or_map(offer, open);
  if (segment->accept(offer)) return held(std::move(segment), &give);
  throw RuntimeError(
      "shared memory: expected a batch that was not received before, got one that was. What a "
      "worker sends can be unpickled once.");
}

void empty_received_segments() { received.get().clear(); }

std::size_t idle_received_bytes() { return received.get().idle_bytes(); }

}  // namespace tensorlift
