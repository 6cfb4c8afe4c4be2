#include "gather.h"

#include <algorithm>

#include "workers.h"

namespace tensorlift {
namespace {

// One piece of work: large enough to hide what it takes to wake a thread. 64 and 128 KiB were no
// faster.
constexpr std::size_t kPieceBytes = 256 << 10;

// A thread more pays from so many bytes on. Two threads for 1 MiB took as long as one, or longer.
constexpr std::size_t kBytesPerThread = 1 << 20;

// As many as announce() can know to have work.
constexpr int kThreadsToRouse = 4;

// Numbers on their way from a rearranging step to a casting one stay in the first-level cache.
constexpr std::size_t kBlockBytes = 8 << 10;

Swap swap_of(c10::ScalarType type, bool swapped) {
  if (!swapped) return Swap::kNone;
  return c10::isComplexType(type) ? Swap::kHalves : Swap::kWhole;
}

// Does one step of `outer` lead from the end of `inner` to where it would go on?
template <typename Dim>
bool continues(const Dim& outer, const Dim& inner) {
  std::int64_t whole = 0;
  return !__builtin_mul_overflow(inner.size, inner.stride, &whole) && outer.stride == whole;
}

}  // namespace

// Walks over one job's elements in C order, from any element on, and writes them contiguously.
class GatherJobs::Reader {
 public:
  Reader(const Job& job, const Dim* dims, std::int64_t first_element)
      : dims_(dims),
        last_(job.ndim - 1),
        itemsize_(job.from_size),
        rearrange_(job.rearrange),
        position_(job.source) {
    for (int d = last_; d >= 0; --d) {
      index_[d] = 0;
      if (first_element == 0) continue;
      index_[d] = first_element % dims_[d].size;
      first_element /= dims_[d].size;
      position_ += index_[d] * dims_[d].stride;
    }
  }

  void read(char* target, std::int64_t count) {
    const Dim& inner = dims_[last_];
    const Dim& outer = dims_[last_ - 1];
    while (count > 0) {
      Rows rows{position_, inner.size, inner.stride, 1, outer.stride};
      if (index_[last_] == 0 && count >= inner.size) {
        rows.count = std::min(count / inner.size, outer.size - index_[last_ - 1]);
        advance(last_ - 1, rows.count);
      } else {
        rows.columns = std::min(count, inner.size - index_[last_]);
        advance(last_, rows.columns);
      }
      rearrange_(rows, target);
      target += rows.count * rows.columns * itemsize_;
      count -= rows.count * rows.columns;
    }
  }

 private:
  // Moves `steps` forward in dimension `d`, at most to its end, which is the next one's beginning.
  void advance(int d, std::int64_t steps) {
    index_[d] += steps;
    position_ += steps * dims_[d].stride;
    for (; d > 0 && index_[d] == dims_[d].size; --d) {
      position_ += dims_[d - 1].stride - dims_[d].size * dims_[d].stride;
      index_[d] = 0;
      ++index_[d - 1];
    }
  }

  const Dim* dims_;
  int last_;
  std::int64_t itemsize_;
  RearrangeFunction rearrange_;
  const char* position_;
  std::int64_t index_[kMaxDims + 1];  // only the first last_ + 1 are set
};

void GatherJobs::add(const ArrayView& view, std::int64_t numel, c10::ScalarType dtype, void* slot) {
  if (numel == 0) return;
  const c10::ScalarType from = view.element.twin;
  const std::uint8_t from_size = view.element.itemsize;
  const auto to_size = static_cast<std::uint8_t>(c10::elementSize(dtype));
  const std::size_t first_dim = dims_.size();
  dims_.push_back({1, 0});  // so that there are always rows
  for (int d = 0; d < view.ndim; ++d) {
    const Dim dim{view.shape[d], view.strides[d]};
    if (dim.size == 1) continue;
    if (dims_.size() > first_dim + 1 && continues(dims_.back(), dim)) {
      dims_.back() = {dims_.back().size * dim.size, dim.stride};
    } else {
      dims_.push_back(dim);
    }
  }
  if (dims_.size() == first_dim + 1) dims_.push_back({1, from_size});  // a single element
  const std::size_t ndim = dims_.size() - first_dim;
  const bool contiguous = ndim == 2 && dims_.back().stride == from_size && !view.swapped;
  const bool aligned = reinterpret_cast<std::uintptr_t>(view.data) % view.element.itemsize == 0;
  jobs_.push_back({static_cast<const char*>(view.data), static_cast<char*>(slot), numel, first_dim,
                   static_cast<std::uint8_t>(ndim), from_size, to_size, contiguous && aligned,
                   rearrange_function(from_size, swap_of(from, view.swapped)),
                   from == dtype ? nullptr : cast_function(from, dtype)});
  const std::size_t widest = std::max(from_size, to_size);
  end_bytes_.push_back(nbytes() + static_cast<std::size_t>(numel) * widest);
}

void GatherJobs::rouse(std::optional<int> threads) {
  announced_ = true;
  rouse_workers(std::min(threads ? *threads : default_threads(), kThreadsToRouse));
}

void GatherJobs::run(std::optional<int> threads) const {
  const std::size_t total = nbytes();
  const auto pieces = static_cast<std::int64_t>((total + kPieceBytes - 1) / kPieceBytes);
  auto copy_piece = [this, total](std::int64_t piece) noexcept {
    const std::size_t begin = static_cast<std::size_t>(piece) * kPieceBytes;
    copy_bytes(begin, std::min(begin + kPieceBytes, total));
  };
  const auto useful = static_cast<int>(std::min<std::size_t>(total / kBytesPerThread, 1 << 20));
  run_pieces(pieces, std::min(threads ? *threads : default_threads(), useful),
             PieceBody(copy_piece));
}

// Copies the elements whose share of nbytes() begins in [begin, end).
void GatherJobs::copy_bytes(std::size_t begin, std::size_t end) const {
  auto job = static_cast<std::size_t>(
      std::upper_bound(end_bytes_.begin(), end_bytes_.end(), begin) - end_bytes_.begin());
  for (; job < jobs_.size(); ++job) {
    const std::size_t job_begin = job == 0 ? 0 : end_bytes_[job - 1];
    if (job_begin >= end) return;
    const std::size_t widest =
        (end_bytes_[job] - job_begin) / static_cast<std::size_t>(jobs_[job].numel);
    const auto element_at = [&](std::size_t byte) {
      const std::size_t inside = byte > job_begin ? byte - job_begin : 0;
      return std::min(static_cast<std::int64_t>((inside + widest - 1) / widest), jobs_[job].numel);
    };
    copy_elements(jobs_[job], element_at(begin), element_at(end));
  }
}

void GatherJobs::copy_elements(const Job& job, std::int64_t begin, std::int64_t end) const {
  if (begin >= end) return;
  char* target = job.slot + begin * job.to_size;
  if (job.castable_in_place && job.cast != nullptr) {
    return job.cast(job.source + begin * job.from_size, target, end - begin);
  }
  Reader reader(job, dims_.data() + job.first_dim, begin);
  if (job.cast == nullptr) return reader.read(target, end - begin);

  alignas(64) char block[kBlockBytes];
  const std::int64_t block_items = static_cast<std::int64_t>(kBlockBytes) / job.from_size;
  while (begin < end) {
    const std::int64_t count = std::min(block_items, end - begin);
    reader.read(block, count);
    job.cast(block, target, count);
    target += count * job.to_size;
    begin += count;
  }
}

}  // namespace tensorlift
