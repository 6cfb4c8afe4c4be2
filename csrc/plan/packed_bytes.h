// PackedBytes: elements in the order in which they are sent, written a chunk at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "copy/gather.h"

namespace tensorlift {

// Jobs whose slots are addresses among the packed bytes (see at()), which are not memory.
class PackedBytes {
 public:
  // The address of byte `offset`. Aligned as the offset is, to 64 at most.
  [[nodiscard]] static char* at(std::size_t offset) {
    return reinterpret_cast<char*>(static_cast<std::uintptr_t>(kFirstAddress + offset));
  }

  // Jobs to be added to, in the order of their slots.
  GatherJobs jobs;

  // How many, all of which some job writes or clears.
  std::size_t nbytes = 0;

  // Where it is cut. Either anywhere (a multiple of 64), or, as long as that is not too much at
  // once:
  // - between parts of equal size, each of which is all of some jobs: `cut_points` has an entry for
  //   each part, jobs.nbytes() after it;
  // - between rows, each of which is a part of every job (GatherJobs::run_rows).
  std::vector<std::size_t> cut_points;
  std::int64_t rows = 1;

  // The end of the chunk that begins at `begin`, for a buffer of `limit` bytes with `room` left,
  // both multiples of 64. It may have more than there is room for, but fits into a buffer.
  [[nodiscard]] std::size_t chunk_end(std::size_t begin, std::size_t room, std::size_t limit) const;

  // Writes chunk [begin, end) to memory that is aligned to 64. A thread more for bytes_per_thread.
  void write(std::size_t begin, std::size_t end, char* memory, std::optional<int> threads,
             std::size_t bytes_per_thread) const;

 private:
  // Not 0: a slot at address 0 would be none.
  static constexpr std::size_t kFirstAddress = kSlotAlignment;

  [[nodiscard]] std::size_t part_bytes() const;
  [[nodiscard]] std::size_t work_before_part(std::size_t part) const;
  void write_within_parts(std::size_t begin, std::size_t end, std::ptrdiff_t shift,
                          std::optional<int> threads, std::size_t bytes_per_thread) const;
};

}  // namespace tensorlift
