#include "shm/received_segments.h"

#include <list>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "errors.h"
#include "parallel/per_process.h"
#include "shm/segment_hold.h"

namespace tensorlift {
namespace {

// What is kept mapped of processes that live. It is memory of theirs; should they end now, it is
// ours until we look again, at the next batch or when one dies.
constexpr std::size_t kMaxMappedIdleBytes = 256 << 20;

// What is mapped and not held. (What is held belongs to its storage, and comes here when that
// dies.)
class IdleMappings {
 public:
  // The segment that is offered, if it is here; nullptr: it is not.
  std::shared_ptr<Segment> take(const SegmentOffer& offer) {
    const std::lock_guard lock(mutex_);
    for (auto it = segments_.begin(); it != segments_.end(); ++it) {
      if (!(*it)->is_offered_by(offer)) continue;
      std::shared_ptr<Segment> segment = std::move(*it);
      segments_.erase(it);
      nbytes_ -= segment->capacity();
      return segment;
    }
    return nullptr;
  }

  void give(std::shared_ptr<Segment> segment) noexcept {
    const std::lock_guard lock(mutex_);
    try {
      segments_.push_back(segment);
    } catch (const std::bad_alloc&) {
      return;  // no room to remember it: unmapped
    }
    nbytes_ += segment->capacity();
    segment.reset();
    forget([this](const Segment& idle) {  // those that were used longest ago first
      return nbytes_ > kMaxMappedIdleBytes || idle.is_retired() || !idle.owner_lives();
    });
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    forget([](const Segment&) { return true; });
  }

  std::size_t nbytes() {
    const std::lock_guard lock(mutex_);
    return nbytes_;
  }

 private:
  template <typename Predicate>
  void forget(Predicate is_to_go) {
    segments_.remove_if([&](const auto& segment) {
      const bool goes = is_to_go(*segment);
      if (goes) nbytes_ -= segment->capacity();
      return goes;
    });
  }

  std::mutex mutex_;
  std::list<std::shared_ptr<Segment>> segments_;  // the one let go of last at the end
  std::size_t nbytes_ = 0;
};

PerProcess<IdleMappings> idle_mappings;

void give(std::shared_ptr<Segment> segment) noexcept {
  idle_mappings.get().give(std::move(segment));
}

std::shared_ptr<Segment> find_or_map(const SegmentOffer& offer,
                                     c10::function_ref<FileDescriptor()> open) {
  std::shared_ptr<Segment> segment = idle_mappings.get().take(offer);
  if (segment != nullptr) return segment;
  const FileDescriptor file = open();
  return std::make_shared<Segment>(Segment::open(file, offer));
}

}  // namespace

c10::DataPtr accept_segment(const SegmentOffer& offer, c10::function_ref<FileDescriptor()> open) {
  std::shared_ptr<Segment> segment = find_or_map(offer, open);
  if (segment->accept(offer)) return held(std::move(segment), &give);
  give(std::move(segment));
  throw RuntimeError(
      "shared memory: expected a batch that was not received before, got one that was. What a "
      "worker sends can be unpickled once.");
}

void empty_received_segments() { idle_mappings.get().clear(); }

std::size_t idle_received_bytes() { return idle_mappings.get().nbytes(); }

}  // namespace tensorlift
