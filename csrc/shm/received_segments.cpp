#include "shm/received_segments.h"

#include <iterator>
#include <list>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>
#include <utility>

#include "errors.h"
#include "parallel/per_process.h"

namespace tensorlift {
namespace {

// What is kept mapped of processes that live. It is memory of theirs; should they end now, it is
// ours until we look again, at the next batch or when one dies.
constexpr std::size_t kMaxMappedIdleBytes = 256 << 20;

using SegmentPtr = std::shared_ptr<Segment>;
using WeakHold = c10::weak_intrusive_ptr<SegmentHold>;
using IdleSegments = std::list<SegmentPtr>;  // the one let go of last at the end

struct HashOfRandom {
  std::size_t operator()(const SegmentIdentity& identity) const { return identity[0]; }
};
template <typename Value>
using ByIdentity = std::unordered_map<SegmentIdentity, Value, HashOfRandom>;

// A segment is held here, idle, or neither for a moment: while a thread begins or ends a hold.
class ReceivedSegments {
 public:
  // Nothing where it is not held.
  SegmentHoldPtr find(const SegmentIdentity& identity) {
    const std::lock_guard lock(mutex_);
    const auto known = held_.find(identity);
    return known == held_.end() ? SegmentHoldPtr() : known->second.lock();
  }

  // nullptr: it is not idle.
  SegmentPtr take_idle(const SegmentIdentity& identity) {
    const std::lock_guard lock(mutex_);
    const auto known = idle_places_.find(identity);
    if (known == idle_places_.end()) return nullptr;
    SegmentPtr segment = *known->second;
    remove_idle(segment, known->second);
    return segment;
  }

  // The hold on its segment from now on: this one, or another thread's that was faster.
  SegmentHoldPtr add(const SegmentHoldPtr& hold) {
    const std::lock_guard lock(mutex_);
    const auto [known, is_first] = held_.try_emplace(hold->segment().identity(), hold);
    if (is_first) return hold;
    if (SegmentHoldPtr faster = known->second.lock()) return faster;
    known->second = WeakHold(hold);
    return hold;
  }

  // Takes back what is not held here any more.
  void give(SegmentPtr segment) noexcept {
    IdleSegments surplus;  // unmapped after the lock
    const std::lock_guard lock(mutex_);
    const auto known = held_.find(segment->identity());
    if (known != held_.end()) {
      if (!known->second.expired()) return;  // mapped twice
      held_.erase(known);
    }
    try {
      add_idle(std::move(segment));
    } catch (const std::bad_alloc&) {
      return;  // no room to remember it: unmapped
    }
    forget(surplus, [this](const Segment& idle) {  // those that were used longest ago first
      return nbytes_ > kMaxMappedIdleBytes || idle.is_retired() || !idle.owner_lives();
    });
  }

  void clear() {
    IdleSegments surplus;
    const std::lock_guard lock(mutex_);
    forget(surplus, [](const Segment&) { return true; });
  }

  std::size_t idle_bytes() {
    const std::lock_guard lock(mutex_);
    return nbytes_;
  }

 private:
  void add_idle(SegmentPtr segment) {
    const auto [place, is_new] = idle_places_.try_emplace(segment->identity());
    if (!is_new) return;  // mapped twice
    nbytes_ += segment->capacity();
    try {
      idle_.push_back(std::move(segment));
    } catch (const std::bad_alloc&) {
      nbytes_ -= segment->capacity();
      idle_places_.erase(place);
      throw;
    }
    place->second = std::prev(idle_.end());
  }

  void remove_idle(const SegmentPtr& segment, IdleSegments::iterator place) {
    nbytes_ -= segment->capacity();
    idle_places_.erase(segment->identity());
    idle_.erase(place);
  }

  template <typename Predicate>
  void forget(IdleSegments& forgotten, Predicate is_to_go) {
    for (auto it = idle_.begin(); it != idle_.end();) {
      const auto next = std::next(it);
      if (is_to_go(**it)) {
        nbytes_ -= (*it)->capacity();
        idle_places_.erase((*it)->identity());
        forgotten.splice(forgotten.end(), idle_, it);
      }
      it = next;
    }
  }

  std::mutex mutex_;
  ByIdentity<WeakHold> held_;
  IdleSegments idle_;
  ByIdentity<IdleSegments::iterator> idle_places_;
  std::size_t nbytes_ = 0;  // of those that are idle
};

PerProcess<ReceivedSegments> received_segments;

void give(SegmentPtr segment) noexcept { received_segments.get().give(std::move(segment)); }

// Turns the offer into a hold of this process.
void accept(Segment& segment, const SegmentOffer& offer) {
  if (offer.nbytes > segment.capacity()) {
    throw RuntimeError("shared memory: expected a batch of at most " +
                       std::to_string(segment.capacity()) + " bytes, got one of " +
                       std::to_string(offer.nbytes) + ".");
  }
  if (segment.accept(offer)) return;
  throw RuntimeError(
      "shared memory: expected a batch that was not received before, got one that was. What a "
      "worker sends can be unpickled once.");
}

SegmentPtr find_or_map(const SegmentOffer& offer, c10::function_ref<FileDescriptor()> open) {
  SegmentPtr segment = received_segments.get().take_idle(offer.identity);
  if (segment == nullptr) segment = std::make_shared<Segment>(Segment::open(open(), offer));
  return segment;
}

}  // namespace

SegmentHoldPtr accept_segment(const SegmentOffer& offer, c10::function_ref<FileDescriptor()> open) {
  if (SegmentHoldPtr hold = received_segments.get().find(offer.identity)) {
    accept(hold->segment(), offer);
    hold->segment().let_go();  // one hold a process
    return hold;
  }
  SegmentPtr segment = find_or_map(offer, open);
  try {
    accept(*segment, offer);
  } catch (const RuntimeError&) {
    give(std::move(segment));
    throw;
  }
  segment->map_populated(offer.nbytes);
  const SegmentHoldPtr hold = hold_on(std::move(segment), offer.nbytes, &give);
  return received_segments.get().add(hold);
}

void empty_received_segments() { received_segments.get().clear(); }

std::size_t idle_received_bytes() { return received_segments.get().idle_bytes(); }

}  // namespace tensorlift
