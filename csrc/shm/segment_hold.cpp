#include "shm/segment_hold.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "memory/build.h"

namespace tensorlift {
namespace {

// A fork may be under way on another thread for a while, and what is held meanwhile be inherited:
// so its beginning and its end count apart.
std::atomic<std::uint64_t> forks_begun{0};
std::atomic<std::uint64_t> forks_over{0};
[[maybe_unused]] const int kForkHandlers =
    pthread_atfork([] { forks_begun.fetch_add(1); }, [] { forks_over.fetch_add(1); },
                   [] { forks_over.store(forks_begun.load()); });

// The deleter of what a storage owns.
void release_hold(void* hold) noexcept {
  static_cast<void>(SegmentHoldPtr::reclaim(static_cast<SegmentHold*>(hold)));
}

c10::Storage new_storage(const SegmentHoldPtr& hold, TensorArena& arena, std::size_t begin,
                         std::size_t nbytes) {
  const c10::Device cpu(c10::DeviceType::CPU);
  c10::DataPtr owner(nullptr, SegmentHoldPtr(hold).release(), &release_hold, cpu);
  return make_owning_storage(arena, nbytes, {hold->segment().data() + begin, cpu},
                             std::move(owner));
}

}  // namespace

SegmentHold::SegmentHold(std::shared_ptr<Segment> segment, std::size_t nbytes, AfterHold after)
    : segment_(std::move(segment)),
      nbytes_(nbytes),
      after_(after),
      forks_before_(forks_over.load()) {
  segment_->file().begin_use();
}

void SegmentHold::end() noexcept {
  if (segment_ == nullptr) return;  // before
  if (forks_before_ != forks_begun.load()) segment_->retire();
  segment_->release();
  segment_->file().end_use();
  after_(std::move(segment_));
}

SegmentHoldPtr hold_on(std::shared_ptr<Segment> segment, std::size_t nbytes, AfterHold after) {
  Segment& taken = *segment;
  try {
    return c10::make_intrusive<SegmentHold>(std::move(segment), nbytes, after);
  } catch (const std::bad_alloc&) {
    taken.release();
    throw;
  }
}

c10::Storage storage_in(const SegmentHoldPtr& hold, TensorArena& arena, std::size_t begin,
                        std::size_t nbytes) {
  using WeakStorage = c10::weak_intrusive_ptr<c10::StorageImpl>;
  std::optional<WeakStorage> dead;
  for (;;) {
    std::optional<WeakStorage> found;
    {
      const std::lock_guard lock(hold->mutex_);
      auto& all = hold->storages_;
      if (dead) std::erase_if(all, [&](const auto& placed) { return placed.storage == *dead; });
      const auto place = std::find_if(all.begin(), all.end(), [&](const auto& placed) {
        return placed.begin == begin && placed.nbytes == nbytes;
      });
      if (place == all.end()) {
        c10::Storage storage = new_storage(hold, arena, begin, nbytes);
        all.push_back({begin, nbytes, storage.getWeakStorageImpl()});
        return storage;
      }
      found = place->storage;
    }
    // Without the lock: where Python alone has the storage, this takes a reference to its object.
    c10::Storage storage(found->lock());
    if (storage && storage.data() == hold->segment().data() + begin) return storage;
    dead = std::move(found);  // or moved elsewhere, by torch
  }
}

std::optional<PlaceInSegment> place_of(const c10::Storage& storage) {
  const c10::DataPtr* owner = owner_of(storage);
  auto* hold = owner == nullptr ? nullptr : owner->cast_context<SegmentHold>(&release_hold);
  if (hold == nullptr) return std::nullopt;
  const Segment& segment = hold->segment();
  const auto* data = static_cast<const char*>(storage.data());
  const char* end = segment.data() + segment.capacity();
  const bool is_there = data >= segment.data() && data < end &&
                        storage.nbytes() <= static_cast<std::size_t>(end - data);
  if (!is_there) return std::nullopt;  // torch has moved it
  return PlaceInSegment{SegmentHoldPtr::reclaim_copy(hold),
                        static_cast<std::size_t>(data - segment.data())};
}

}  // namespace tensorlift
