#include "gather.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "faults.h"
#include "stream.h"
#include "workers.h"

namespace tensorlift {
namespace {

// One piece of work: large enough to hide what it takes to hand it out. 64 and 128 KiB were no
// faster.
constexpr std::size_t kPieceBytes = kIsCutFinely ? 512 : 256 << 10;

// Elements on their way from one step to the next stay in the first-level cache.
constexpr std::size_t kBlockBytes = kIsCutFinely ? 128 : 8 << 10;

// How many of the latest groups to look through for one that fits: lists that alternate between a
// few kinds of arrays are common, lists of many kinds are not worth a search.
constexpr std::size_t kGroupsToTry = 4;

Swap swap_of(c10::ScalarType type, bool swapped) {
  if (!swapped) return Swap::kNone;
  return c10::isComplexType(type) ? Swap::kHalves : Swap::kWhole;
}

// The order in which the elements lie in the slot: its outermost dimension first.
void memory_order(int ndim, const std::int64_t* slot_strides, std::uint8_t* order) {
  std::iota(order, order + ndim, std::uint8_t{0});
  if (slot_strides == nullptr) return;
  std::stable_sort(order, order + ndim, [slot_strides](std::uint8_t a, std::uint8_t b) {
    return slot_strides[a] > slot_strides[b];
  });
}

std::size_t widest_size(c10::ScalarType from, c10::ScalarType to) {
  return std::max(c10::elementSize(from), c10::elementSize(to));
}

// Clears the memory from `end` to the next slot.
void clear_gap(char* end) {
  const std::size_t over = reinterpret_cast<std::uintptr_t>(end) % kSlotAlignment;
  if (over != 0 && !is_seeded(Fault::kGapsNotCleared)) std::memset(end, 0, kSlotAlignment - over);
}

int helpful_threads(std::optional<int> threads, std::size_t nbytes, std::size_t per_thread) {
  const auto helpful = static_cast<int>(std::min<std::size_t>(nbytes / per_thread, 1 << 20));
  return std::min(threads ? *threads : default_threads(), helpful);
}

}  // namespace

void GatherJobs::add(const ArrayView& view, std::int64_t numel, c10::ScalarType dtype, void* slot,
                     const std::int64_t* slot_strides) {
  if (numel == 0) return;
  const std::size_t to_size = c10::elementSize(dtype);
  if (slot_strides != nullptr &&
      is_contiguous(view.ndim, view.shape, slot_strides, static_cast<std::int64_t>(to_size))) {
    slot_strides = nullptr;
  }
  const Key key{.from = view.element.twin,
                .to = dtype,
                .swapped = view.swapped,
                .source_aligned = is_multiple(view.data, view.element.itemsize),
                .slot_aligned = is_multiple(slot, to_size),
                .is_run = false,
                .run_stride = 0};
  const std::size_t widest = std::max<std::size_t>(view.element.itemsize, to_size);
  push(view.data, slot, static_cast<std::size_t>(numel) * widest,
       group_for(view, key, slot_strides));
}

void GatherJobs::add_repeated(const void* source, c10::ScalarType dtype, std::int64_t numel,
                              void* slot) {
  if (numel == 0) return;
  const std::size_t size = c10::elementSize(dtype);
  const Key key{.from = dtype,
                .to = dtype,
                .swapped = false,
                .source_aligned = is_multiple(source, size),
                .slot_aligned = is_multiple(slot, size),
                .is_run = true,
                .run_stride = 0};
  push(source, slot, static_cast<std::size_t>(numel) * size, run_group(key, 0));
}

// A group like this one, but for addresses like these.
std::uint32_t GatherJobs::realigned_group(std::uint32_t index, const void* source,
                                          const void* slot) {
  Group group = groups_[index];
  group.key.source_aligned = is_multiple(source, group.from_size);
  group.key.slot_aligned = is_multiple(slot, group.to_size);
  const bool has_one_run =
      group.write_dim_count == 0 ||
      is_one_run(dims_.data() + group.write_dims, group.write_dim_count, group.to_size);
  group.writes_in_place = has_one_run && (group.key.slot_aligned || group.cast == nullptr);
  groups_.push_back(group);
  return static_cast<std::uint32_t>(groups_.size() - 1);
}

std::size_t GatherJobs::oldest_to_try() const {
  return groups_.size() - std::min(groups_.size(), kGroupsToTry);
}

std::uint32_t GatherJobs::run_group(Key key, std::int64_t run_stride) {
  key.is_run = true;
  key.run_stride = run_stride;
  for (std::size_t g = groups_.size(); g-- > oldest_to_try();) {
    if (groups_[g].key == key) return static_cast<std::uint32_t>(g);
  }
  return new_group(key);
}

std::uint32_t GatherJobs::group_for(const ArrayView& view, Key key,
                                    const std::int64_t* slot_strides) {
  const std::int64_t itemsize = view.element.itemsize;
  const bool is_plain =
      slot_strides == nullptr && is_contiguous(view.ndim, view.shape, view.strides, itemsize);
  if (is_plain) return run_group(key, itemsize);

  for (std::size_t g = groups_.size(); g-- > oldest_to_try();) {
    if (groups_[g].key == key && has_extents(groups_[g], view, slot_strides)) {
      return static_cast<std::uint32_t>(g);
    }
  }
  if (slot_strides != nullptr) return new_strided_group(key, view, slot_strides);
  std::uint8_t order[kMaxDims];
  memory_order(view.ndim, nullptr, order);
  Dim dims[kMaxWalkDims];
  const int count = merge_dims(view.ndim, view.shape, view.strides, order, itemsize, dims);
  return count == 2 ? run_group(key, dims[1].stride) : new_strided_group(key, view, nullptr);
}

bool GatherJobs::has_extents(const Group& group, const ArrayView& view,
                             const std::int64_t* slot_strides) const {
  if (group.ndim != view.ndim) return false;
  const std::int64_t* extents = extents_.data() + group.extents;
  const auto ndim = static_cast<std::size_t>(view.ndim);
  if (!std::equal(view.shape, view.shape + ndim, extents)) return false;
  if (!std::equal(view.strides, view.strides + ndim, extents + ndim)) return false;
  if (slot_strides == nullptr) return group.write_dim_count == 0;
  if (group.write_dim_count == 0) return false;
  return std::equal(slot_strides, slot_strides + ndim, extents + 2 * ndim);
}

std::uint32_t GatherJobs::new_group(const Key& key) {
  Group group{};
  group.key = key;
  group.from_size = static_cast<std::uint8_t>(c10::elementSize(key.from));
  group.to_size = static_cast<std::uint8_t>(c10::elementSize(key.to));
  group.reads_in_place = key.is_run && key.run_stride == group.from_size && !key.swapped;
  group.writes_in_place = key.slot_aligned || key.from == key.to;
  group.read = rearrange_function(group.from_size, swap_of(key.from, key.swapped));
  group.write = scatter_function(group.to_size);
  group.cast = key.from == key.to ? nullptr : cast_function(key.from, key.to);
  groups_.push_back(group);
  return static_cast<std::uint32_t>(groups_.size() - 1);
}

std::uint32_t GatherJobs::new_strided_group(const Key& key, const ArrayView& view,
                                            const std::int64_t* slot_strides) {
  const std::uint32_t index = new_group(key);
  Group& group = groups_[index];
  group.ndim = view.ndim;
  group.extents = extents_.size();
  extents_.append(view.shape, view.shape + view.ndim);
  extents_.append(view.strides, view.strides + view.ndim);

  std::uint8_t order[kMaxDims];
  memory_order(view.ndim, slot_strides, order);
  Dim dims[kMaxWalkDims];
  int count = merge_dims(view.ndim, view.shape, view.strides, order, group.from_size, dims);
  group.read_dims = dims_.size();
  group.read_dim_count = static_cast<std::uint8_t>(count);
  group.reads_in_place = is_one_run(dims, count, group.from_size) && !key.swapped;
  dims_.append(dims, dims + count);
  if (slot_strides == nullptr) return index;

  extents_.append(slot_strides, slot_strides + view.ndim);
  count = merge_dims(view.ndim, view.shape, slot_strides, order, group.to_size, dims);
  group.write_dims = dims_.size();
  group.write_dim_count = static_cast<std::uint8_t>(count);
  group.writes_in_place = group.writes_in_place && is_one_run(dims, count, group.to_size);
  dims_.append(dims, dims + count);
  return index;
}

void GatherJobs::clear() {
  jobs_.clear();
  groups_.clear();
  extents_.clear();
  dims_.clear();
}

void GatherJobs::run_part(std::size_t begin, std::size_t end, std::ptrdiff_t shift,
                          std::optional<int> threads, std::size_t bytes_per_thread) const {
  const std::size_t total = end - begin;
  const auto pieces = static_cast<std::int64_t>((total + kPieceBytes - 1) / kPieceBytes);
  auto copy_piece = [this, begin, end, shift](std::int64_t piece) noexcept {
    const std::size_t from = begin + static_cast<std::size_t>(piece) * kPieceBytes;
    copy_bytes(from, std::min(from + kPieceBytes, end), shift);
  };
  run_pieces(pieces, helpful_threads(threads, total, bytes_per_thread), PieceBody(copy_piece));
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
  run_pieces(pieces, helpful_threads(threads, total, bytes_per_thread), PieceBody(copy_piece));
}

std::size_t GatherJobs::work_before(const char* address) const {
  const auto job = std::partition_point(
      jobs_.begin(), jobs_.end(), [address](const Job& earlier) { return earlier.slot < address; });
  if (job == jobs_.begin()) return 0;
  const auto index =
      static_cast<std::size_t>(job - jobs_.begin()) - 1;  // the last that begins below
  const Group& group = groups_[jobs_[index].group];
  const std::size_t widest = std::max(group.from_size, group.to_size);
  const auto elements = static_cast<std::size_t>(address - jobs_[index].slot) / group.to_size;
  return std::min(begin_bytes(index) + elements * widest, jobs_[index].end_bytes);
}

// Copies the elements whose share of nbytes() begins in [begin, end).
void GatherJobs::copy_bytes(std::size_t begin, std::size_t end, std::ptrdiff_t shift) const {
  const auto first =
      std::upper_bound(jobs_.begin(), jobs_.end(), begin,
                       [](std::size_t byte, const Job& job) { return byte < job.end_bytes; });
  std::size_t job_begin = begin_bytes(static_cast<std::size_t>(first - jobs_.begin()));
  for (auto job = first; job != jobs_.end() && job_begin < end; ++job) {
    if (job + 2 < jobs_.end()) __builtin_prefetch(job[2].source);
    Job here = *job;
    here.slot += shift;
    const Group& group = groups_[job->group];
    const std::size_t widest = std::max(group.from_size, group.to_size);
    const auto numel = static_cast<std::int64_t>((job->end_bytes - job_begin) / widest);
    const auto element_at = [&](std::size_t byte) {
      return std::min(static_cast<std::int64_t>((byte - job_begin + widest - 1) / widest), numel);
    };
    copy_elements(here, numel, begin > job_begin ? element_at(begin) : 0,
                  end < job->end_bytes ? element_at(end) : numel);
    if (clears_gaps_ && end >= job->end_bytes) clear_gap(here.slot + numel * group.to_size);
    job_begin = job->end_bytes;
  }
}

// Copies parts [begin, end) of every job, each of which has `parts` of them.
void GatherJobs::copy_parts(std::int64_t begin, std::int64_t end, std::int64_t parts,
                            std::ptrdiff_t shift) const {
  std::size_t job_begin = 0;
  for (const Job& job : jobs_) {
    Job here = job;
    here.slot += shift;
    const std::size_t widest = widest_size(groups_[job.group].key.from, groups_[job.group].key.to);
    const auto numel = static_cast<std::int64_t>((job.end_bytes - job_begin) / widest);
    copy_elements(here, numel, numel / parts * begin, numel / parts * end);
    job_begin = job.end_bytes;
  }
}

void GatherJobs::copy_elements(const Job& job, std::int64_t numel, std::int64_t begin,
                               std::int64_t end) const {
  if (begin >= end) return;
  const Group& group = groups_[job.group];
  const char* source = job.source + begin * group.from_size;
  char* target = job.slot + begin * group.to_size;
  const bool in_place = group.reads_in_place && group.writes_in_place;
  if (group.cast == nullptr && in_place) {
    const auto nbytes = static_cast<std::size_t>((end - begin) * group.to_size);
    if (streams_) return stream_copy(target, source, nbytes);
    std::memcpy(target, source, nbytes);
  } else if (group.cast == nullptr && group.key.is_run && group.writes_in_place) {
    const std::int64_t stride = group.key.run_stride;
    const Rows row{const_cast<char*>(job.source) + begin * stride, end - begin, stride, 1, 0};
    group.read(row, target);
  } else if (in_place && group.key.source_aligned) {
    group.cast(source, target, end - begin);
  } else {
    copy_in_blocks(job, numel, begin, end);
  }
}

void GatherJobs::copy_in_blocks(const Job& job, std::int64_t numel, std::int64_t begin,
                                std::int64_t end) const {
  const Group& group = groups_[job.group];
  const Dim run[] = {{1, 0}, {numel, group.key.run_stride}};
  const Dim* read_dims = group.key.is_run ? run : dims_.data() + group.read_dims;
  const int read_dim_count = group.key.is_run ? 2 : group.read_dim_count;
  const auto read = [&](Walker& walker, char* target, std::int64_t count) {
    while (count > 0) {
      const Rows rows = walker.next(count);
      group.read(rows, target);
      target += rows.count * rows.columns * group.from_size;
      count -= rows.count * rows.columns;
    }
  };
  const auto write = [&](Walker& walker, const char* source, std::int64_t count) {
    while (count > 0) {
      const Rows rows = walker.next(count);
      group.write(source, rows);
      source += rows.count * rows.columns * group.to_size;
      count -= rows.count * rows.columns;
    }
  };
  // A walker for reading never writes.
  Walker reader(read_dims, read_dim_count, const_cast<char*>(job.source), begin);
  char* target = job.slot + begin * group.to_size;  // where writes_in_place
  if (group.cast == nullptr && group.writes_in_place) return read(reader, target, end - begin);

  const Dim in_place[] = {{1, 0}, {numel, group.to_size}};  // misaligned for a cast
  const bool has_strides = group.write_dim_count > 0;
  Walker writer(has_strides ? dims_.data() + group.write_dims : in_place,
                has_strides ? group.write_dim_count : 2, job.slot, begin);
  const char* source = job.source + begin * group.from_size;  // where reads_in_place
  if (group.cast == nullptr && group.reads_in_place) return write(writer, source, end - begin);

  alignas(64) char read_block[kBlockBytes];
  alignas(64) char cast_block[kBlockBytes];
  const bool reads_in_place = group.reads_in_place && group.key.source_aligned;
  const std::int64_t block_items =
      static_cast<std::int64_t>(kBlockBytes) / std::max(group.from_size, group.to_size);
  while (begin < end) {
    const std::int64_t count = std::min(block_items, end - begin);
    const char* elements = source;
    if (!reads_in_place) {
      read(reader, read_block, count);
      elements = read_block;
    }
    if (group.cast != nullptr) {
      char* result = group.writes_in_place ? target : cast_block;
      group.cast(elements, result, count);
      elements = result;
    }
    if (!group.writes_in_place) write(writer, elements, count);
    source += count * group.from_size;
    target += count * group.to_size;
    begin += count;
  }
}

}  // namespace tensorlift
