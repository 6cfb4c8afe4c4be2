#include "copy/gather.h"

#include <algorithm>
#include <cstring>

#include "parallel/thread_pool.h"

namespace tensorlift {
namespace {

// One piece of work: large enough to hide what it takes to hand it out. 64 and 128 KiB were no
// faster.
constexpr std::size_t kPieceBytes = kIsTestGrain ? 512 : 256 << 10;

// Clears the memory from `end` to the next slot.
void clear_gap(char* end) {
  const std::size_t over = reinterpret_cast<std::uintptr_t>(end) % kSlotAlignment;
  if (over != 0) std::memset(end, 0, kSlotAlignment - over);
}

int helpful_threads(std::optional<int> threads, std::size_t nbytes, std::size_t per_thread) {
  const auto helpful = static_cast<int>(std::min<std::size_t>(nbytes / per_thread, 1 << 20));
  return std::min(threads ? *threads : default_threads(), helpful);
}

// Calls copy(from, to) for all of [begin, end), a piece at a time: addresses, or bytes of work.
template <typename Position, typename Copy>
void run_in_pieces(Position begin, Position end, std::optional<int> threads,
                   std::size_t bytes_per_thread, const Copy& copy) {
  const auto total = static_cast<std::size_t>(end - begin);
  const auto pieces = static_cast<std::int64_t>((total + kPieceBytes - 1) / kPieceBytes);
  auto copy_piece = [begin, end, &copy](std::int64_t piece) noexcept {
    const Position from = begin + static_cast<std::size_t>(piece) * kPieceBytes;
    copy(from, from + std::min(kPieceBytes, static_cast<std::size_t>(end - from)));
  };
  run_pieces(pieces, helpful_threads(threads, total, bytes_per_thread), PieceFunction(copy_piece));
}

}  // namespace

void GatherJobs::add(const ArrayView& view, std::int64_t numel, c10::ScalarType dtype, void* slot,
                     const std::int64_t* slot_strides, const Normalization* normalization) {
  if (numel == 0) return;
  const std::size_t widest = std::max<std::size_t>(view.element.itemsize, c10::elementSize(dtype));
  push(view.data, slot, static_cast<std::size_t>(numel) * widest,
       copies_.find(view, dtype, slot, slot_strides, normalization));
}

void GatherJobs::add_repeated(const void* source, c10::ScalarType dtype, std::int64_t numel,
                              void* slot) {
  if (numel == 0) return;
  push(source, slot, static_cast<std::size_t>(numel) * c10::elementSize(dtype),
       copies_.find_repeated(source, dtype, slot));
}

void GatherJobs::clear() {
  jobs_.clear();
  copies_.clear();
}

void GatherJobs::run_part(std::size_t begin, std::size_t end, std::ptrdiff_t shift,
                          std::optional<int> threads, std::size_t bytes_per_thread) const {
  run_in_pieces(begin, end, threads, bytes_per_thread,
                [&](std::size_t from, std::size_t to) { copy_bytes(from, to, shift); });
}

void GatherJobs::run_rows(std::int64_t begin, std::int64_t end, std::int64_t rows,
                          std::ptrdiff_t shift, std::optional<int> threads,
                          std::size_t bytes_per_thread) const {
  const std::int64_t count = end - begin;
  const std::size_t total =
      nbytes() / static_cast<std::size_t>(rows) * static_cast<std::size_t>(count);
  const auto wanted = static_cast<std::int64_t>((total + kPieceBytes - 1) / kPieceBytes);
  const std::int64_t pieces = std::min(wanted, count);
  auto copy_piece = [this, begin, count, rows, pieces, shift](std::int64_t piece) noexcept {
    // Rows divided by pieces, without the product of the two.
    const auto first_row = [begin, count, pieces](std::int64_t p) {
      return begin + p * (count / pieces) + std::min(p, count % pieces);
    };
    copy_parts(first_row(piece), first_row(piece + 1), rows, shift);
  };
  run_pieces(pieces, helpful_threads(threads, total, bytes_per_thread), PieceFunction(copy_piece));
}

void GatherJobs::run_part_of_row(const char* first_row, const char* row, const char* begin,
                                 const char* end, std::ptrdiff_t shift, std::optional<int> threads,
                                 std::size_t bytes_per_thread) const {
  const auto jobs_below = [this](const char* address) {
    const auto job = std::partition_point(jobs_.begin(), jobs_.end(),
                                          [address](const Job& j) { return j.slot < address; });
    return static_cast<std::size_t>(job - jobs_.begin());
  };
  run_in_pieces(begin, end, threads, bytes_per_thread, [&](const char* from, const char* to) {
    const std::size_t first = jobs_below(first_row + (from - row) + 1);  // at least 1
    copy_between(first - 1, jobs_below(first_row + (to - row)), from, to, shift);
  });
}

void GatherJobs::run_addresses(std::size_t work_begin, std::size_t work_end, const char* begin,
                               const char* end, std::ptrdiff_t shift, std::optional<int> threads,
                               std::size_t bytes_per_thread) const {
  const auto jobs_done_by = [this](std::size_t work) {
    const auto job = std::partition_point(jobs_.begin(), jobs_.end(),
                                          [work](const Job& j) { return j.end_bytes <= work; });
    return static_cast<std::size_t>(job - jobs_.begin());
  };
  const std::size_t first = jobs_done_by(work_begin), last = jobs_done_by(work_end);
  run_in_pieces(begin, end, threads, bytes_per_thread, [&](const char* from, const char* to) {
    copy_between(first, last, from, to, shift);
  });
}

std::size_t GatherJobs::work_before(const char* address) const {
  const auto job = std::partition_point(
      jobs_.begin(), jobs_.end(), [address](const Job& earlier) { return earlier.slot < address; });
  if (job == jobs_.begin()) return 0;
  const auto index =
      static_cast<std::size_t>(job - jobs_.begin()) - 1;  // the last that begins below
  const ElementCopy& copy = copies_[jobs_[index].copy];
  const auto elements = static_cast<std::size_t>(address - jobs_[index].slot) / copy.to_size;
  return std::min(begin_bytes(index) + elements * copy.widest(), jobs_[index].end_bytes);
}

// Copies the elements whose share of nbytes() begins in [begin, end).
void GatherJobs::copy_bytes(std::size_t begin, std::size_t end, std::ptrdiff_t shift) const {
  const auto first =
      std::upper_bound(jobs_.begin(), jobs_.end(), begin,
                       [](std::size_t byte, const Job& job) { return byte < job.end_bytes; });
  std::size_t job_begin = begin_bytes(static_cast<std::size_t>(first - jobs_.begin()));
  for (auto job = first; job != jobs_.end() && job_begin < end; ++job) {
    if (job + 2 < jobs_.end()) __builtin_prefetch(job[2].source);
    const ElementCopy& copy = copies_[job->copy];
    char* slot = job->slot + shift;
    const auto numel = copy.elements_in(job->end_bytes - job_begin);
    const auto element_at = [&](std::size_t byte) {
      return std::min(copy.elements_in(byte - job_begin + copy.widest() - 1), numel);
    };
    copies_.run(copy, job->source, slot, numel, begin > job_begin ? element_at(begin) : 0,
                end < job->end_bytes ? element_at(end) : numel, is_non_temporal_);
    if (clears_gaps_ && end >= job->end_bytes) clear_gap(slot + numel * copy.to_size);
    job_begin = job->end_bytes;
  }
}

// Copies the elements of jobs [first_job, last_job) that lie at addresses [begin, end).
void GatherJobs::copy_between(std::size_t first_job, std::size_t last_job, const char* begin,
                              const char* end, std::ptrdiff_t shift) const {
  for (std::size_t j = first_job; j < last_job; ++j) {
    const Job& job = jobs_[j];
    const ElementCopy& copy = copies_[job.copy];
    const auto numel = copy.elements_in(job.end_bytes - begin_bytes(j));
    copies_.run(copy, job.source, job.slot + shift, numel,
                copies_.elements_before(copy, numel, begin - job.slot),
                copies_.elements_before(copy, numel, end - job.slot), is_non_temporal_);
  }
}

// Copies parts [begin, end) of every job, each of which has `parts` of them.
void GatherJobs::copy_parts(std::int64_t begin, std::int64_t end, std::int64_t parts,
                            std::ptrdiff_t shift) const {
  std::size_t job_begin = 0;
  for (const Job& job : jobs_) {
    const ElementCopy& copy = copies_[job.copy];
    const auto numel = copy.elements_in(job.end_bytes - job_begin);
    copies_.run(copy, job.source, job.slot + shift, numel, numel / parts * begin,
                numel / parts * end, is_non_temporal_);
    job_begin = job.end_bytes;
  }
}

}  // namespace tensorlift
