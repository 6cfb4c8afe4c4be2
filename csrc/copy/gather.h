// Gather: copies many source views into their slots, casting, normalising and swapping bytes on the
// way, in one pass over memory. Work is cut by bytes, not by array. Knows nothing of Python: call
// it without the GIL, as long as somebody keeps the sources' memory alive.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "copy/element_copy.h"
#include "copy/test_grain.h"
#include "plan/array_view.h"

namespace tensorlift {

// What slots are aligned to that are to be cut, cleared up to, and used on any device.
inline constexpr std::size_t kSlotAlignment = 64;
[[nodiscard]] constexpr std::size_t slot_aligned(std::size_t nbytes) {
  return (nbytes + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
}

// A thread more pays from so many bytes on. Two threads for 1 MiB took as long as one, or longer.
inline constexpr std::size_t kBytesPerThread = kIsTestGrain ? 64 : 1 << 20;

// The copies that one call has to make. Copies shape and strides out of the views, so that a job
// stays true whatever happens to the array object; the elements are read when run() is called.
class GatherJobs {
 public:
  // A job that writes view's `numel` elements to `slot`, whose strides are `slot_strides` [ndim],
  // in bytes, none negative; nullptr: contiguous, in C order. No slot overlaps itself, another, or
  // a source. The view's element kind is not kUnsupported, and `dtype` is castable.
  // `normalization`, if there is one, is for this dtype; the view's first dimension has its
  // channels.
  void add(const ArrayView& view, std::int64_t numel, c10::ScalarType dtype, void* slot,
           const std::int64_t* slot_strides = nullptr,
           const Normalization* normalization = nullptr);

  // A job that writes the number at `source` to `numel` places of a contiguous slot.
  void add_repeated(const void* source, c10::ScalarType dtype, std::int64_t numel, void* slot);

  // Another job with the shape, strides and dtypes of the last one.
  void repeat(const void* source, void* slot) {
    const Job& last = jobs_.back();
    push(source, slot, last.end_bytes - begin_bytes(jobs_.size() - 1),
         copies_.find_like(last.copy, source, slot));
  }

  [[nodiscard]] bool empty() const { return jobs_.empty(); }
  [[nodiscard]] std::size_t size() const { return jobs_.size(); }
  void reserve(std::size_t jobs) { jobs_.reserve(jobs); }

  // Bytes read and written, whichever is more, summed over all jobs.
  [[nodiscard]] std::size_t nbytes() const { return jobs_.empty() ? 0 : jobs_.back().end_bytes; }

  // Plain copies are to be written past the caches: see non_temporal.h.
  void use_non_temporal_stores() { is_non_temporal_ = true; }

  // Each slot begins at a multiple of kSlotAlignment, and the bytes from its end to the next such
  // one are cleared, so that nothing older is left there.
  void clear_gaps() { clears_gaps_ = true; }

  // Does the work, on at most `threads` threads (default: torch's), fewer where there is little.
  void run(std::optional<int> threads) const { run_part(0, nbytes(), 0, threads); }

  // Does the part of the work that begins at `begin` of nbytes() and ends before `end`, and writes
  // it `shift` bytes behind the slots: so a destination is written a window at a time, somewhere
  // else. Slots are addresses that nobody touches then.
  void run_part(std::size_t begin, std::size_t end, std::ptrdiff_t shift,
                std::optional<int> threads, std::size_t bytes_per_thread = kBytesPerThread) const;

  // How much of nbytes() is what is written below `address`, which is no address within an element.
  // For slots in the order of their addresses, without holes in them.
  [[nodiscard]] std::size_t work_before(const char* address) const;

  // The same for slots that lie side by side, as those of cat(dim=1) do: every job consists of
  // `rows` equal parts, and the first parts of all jobs are written before the second ones, so
  // that what lies together is written together.
  void run_side_by_side(std::int64_t rows, std::optional<int> threads) const {
    run_rows(0, rows, rows, 0, threads);
  }

  // The same for rows [begin, end) of them, `shift` bytes behind the slots.
  void run_rows(std::int64_t begin, std::int64_t end, std::int64_t rows, std::ptrdiff_t shift,
                std::optional<int> threads, std::size_t bytes_per_thread = kBytesPerThread) const;

  // Writes what lies at addresses [begin, end) of one of `rows` rows, which begins at `row` where
  // the first one begins at `first_row`; slots are in the order of their addresses. The same for
  // what lies there of the jobs that do the work [work_begin, work_end), whose slots may lie among
  // each other. No address is one within an element.
  void run_part_of_row(const char* first_row, const char* row, const char* begin, const char* end,
                       std::ptrdiff_t shift, std::optional<int> threads,
                       std::size_t bytes_per_thread) const;
  void run_addresses(std::size_t work_begin, std::size_t work_end, const char* begin,
                     const char* end, std::ptrdiff_t shift, std::optional<int> threads,
                     std::size_t bytes_per_thread) const;

  // Forgets all jobs, keeps the memory.
  void clear();

 private:
  struct Job {
    const char* source;
    char* slot;
    std::size_t end_bytes;  // nbytes() of all jobs up to this one
    std::uint32_t copy;     // of copies_
  };

  void push(const void* source, void* slot, std::size_t job_bytes, std::uint32_t copy) {
    jobs_.push_back(
        {static_cast<const char*>(source), static_cast<char*>(slot), nbytes() + job_bytes, copy});
  }
  [[nodiscard]] std::size_t begin_bytes(std::size_t job) const {
    return job == 0 ? 0 : jobs_[job - 1].end_bytes;
  }
  void copy_bytes(std::size_t begin, std::size_t end, std::ptrdiff_t shift) const;
  void copy_between(std::size_t first_job, std::size_t last_job, const char* begin, const char* end,
                    std::ptrdiff_t shift) const;
  void copy_parts(std::int64_t begin, std::int64_t end, std::int64_t parts,
                  std::ptrdiff_t shift) const;

  std::vector<Job> jobs_;  // std::vector adds faster than SmallVector: one per array
  ElementCopies copies_;
  bool is_non_temporal_ = false;
  bool clears_gaps_ = false;
};

}  // namespace tensorlift
