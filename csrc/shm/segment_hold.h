// SegmentHold: a process's hold on a segment, and the storages that lie in the segment.
//
// The hold belongs to the storages, not to their data pointers: torch gives a storage another
// pointer when it moves it to a file of its own (share_memory_), and whoever has looked at the old
// memory before, a NumPy view or a kernel, keeps the storage.
#pragma once

#include <c10/core/Storage.h>
#include <c10/util/intrusive_ptr.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "memory/tensor_arena.h"
#include "shm/segment.h"

namespace tensorlift {

// What is done with a segment of which this process has let go.
using AfterHold = void (*)(std::shared_ptr<Segment>) noexcept;

// Ends with the last reference, on whatever thread. A process that forks meanwhile cannot know for
// how long the child reads what it has inherited: whichever of the two lets go first retires the
// segment. Nothing here needs the GIL.
class SegmentHold final : public c10::intrusive_ptr_target {
 public:
  SegmentHold(std::shared_ptr<Segment> segment, std::size_t nbytes, AfterHold after);
  ~SegmentHold() override { end(); }
  SegmentHold(const SegmentHold&) = delete;
  SegmentHold& operator=(const SegmentHold&) = delete;

  [[nodiscard]] Segment& segment() const { return *segment_; }
  [[nodiscard]] std::size_t nbytes() const { return nbytes_; }

  void release_resources() override { end(); }

 private:
  friend c10::Storage storage_in(const c10::intrusive_ptr<SegmentHold>&, TensorArena&, std::size_t,
                                 std::size_t);
  struct Placed {
    std::size_t begin, nbytes;
    c10::weak_intrusive_ptr<c10::StorageImpl> storage;
  };
  void end() noexcept;

  std::shared_ptr<Segment> segment_;
  const std::size_t nbytes_;
  const AfterHold after_;
  const std::uint64_t forks_before_;
  std::mutex mutex_;
  std::vector<Placed> storages_;
};

using SegmentHoldPtr = c10::intrusive_ptr<SegmentHold>;

// Takes over a hold of the caller's on a segment, of which `nbytes` are in use.
[[nodiscard]] SegmentHoldPtr hold_on(std::shared_ptr<Segment> segment, std::size_t nbytes,
                                     AfterHold after);

// The storage of the segment's bytes from `begin` on: as long as it lives, there is one. It cannot
// be resized. The caller has checked that the bytes are within the segment.
[[nodiscard]] c10::Storage storage_in(const SegmentHoldPtr& hold, TensorArena& arena,
                                      std::size_t begin, std::size_t nbytes);

// Where a storage lies.
struct PlaceInSegment {
  SegmentHoldPtr hold;
  std::size_t begin;  // bytes
};
// Nothing: in no segment, or no longer.
[[nodiscard]] std::optional<PlaceInSegment> place_of(const c10::Storage& storage);

}  // namespace tensorlift
