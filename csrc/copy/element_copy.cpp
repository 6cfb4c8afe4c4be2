#include "copy/element_copy.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "copy/test_grain.h"

namespace tensorlift {
namespace {

// Elements on their way from one step to the next stay in the first-level cache.
constexpr std::size_t kBlockBytes = kIsTestGrain ? 128 : 8 << 10;

// How many of the latest ones to look through for one that fits: lists that alternate between a few
// kinds of arrays are common, lists of many kinds are not worth a search.
constexpr std::size_t kCopiesToTry = 4;

Swap swap_of(c10::ScalarType type, bool swapped) {
  if (!swapped) return Swap::kNone;
  return c10::isComplexType(type) ? Swap::kHalves : Swap::kWhole;
}

// Shorter rows of bytes are put together before they are normalised.
constexpr std::int64_t kShortestRow = kIsTestGrain ? 3 : 16;

// How many elements of a channel, the first dimension, follow each other in this order.
std::int64_t channel_run_in(const ArrayView& view, const std::uint8_t* order) {
  std::int64_t run = 1;
  for (int i = view.ndim; i-- > 0 && order[i] != 0;) run *= view.shape[order[i]];
  return run;
}

// `count` elements, of which the first is number `first` of its array.
void convert(const ElementCopy& copy, const char* elements, char* target, std::int64_t first,
             std::int64_t count) {
  if (copy.key.normalization == nullptr) return copy.cast(elements, target, count);
  copy.key.normalization->run({.elements = elements,
                               .stride = copy.from_size,
                               .first = first,
                               .count = count,
                               .channel_run = copy.channel_run},
                              copy.key.from, target);
}

// The order in which the elements lie in the slot: its outermost dimension first.
void memory_order(int ndim, const std::int64_t* slot_strides, std::uint8_t* order) {
  std::iota(order, order + ndim, std::uint8_t{0});
  if (slot_strides == nullptr) return;
  std::stable_sort(order, order + ndim, [slot_strides](std::uint8_t a, std::uint8_t b) {
    return slot_strides[a] > slot_strides[b];
  });
}

}  // namespace

std::uint32_t ElementCopies::find(const ArrayView& view, c10::ScalarType dtype, const void* slot,
                                  const std::int64_t* slot_strides,
                                  const Normalization* normalization) {
  const std::int64_t itemsize = view.element.itemsize;
  const std::size_t to_size = c10::elementSize(dtype);
  if (slot_strides != nullptr &&
      is_contiguous(view.ndim, view.shape, slot_strides, static_cast<std::int64_t>(to_size))) {
    slot_strides = nullptr;
  }
  ElementCopy::Key key{.from = view.element.dtype,
                       .to = dtype,
                       .swapped = view.swapped,
                       .source_aligned = is_multiple(view.data, view.element.itemsize),
                       .slot_aligned = is_multiple(slot, to_size),
                       .is_run = false,
                       .run_stride = 0,
                       .normalization = normalization};
  const bool may_be_run = slot_strides == nullptr && normalization == nullptr;
  const bool is_plain = may_be_run && is_contiguous(view.ndim, view.shape, view.strides, itemsize);
  if (is_plain) {
    key.is_run = true;
    key.run_stride = itemsize;
    return find_run(key);
  }

  for (std::size_t i = copies_.size(); i-- > oldest_to_try();) {
    if (copies_[i].key == key && has_shape(copies_[i], view, slot_strides)) {
      return static_cast<std::uint32_t>(i);
    }
  }
  if (!may_be_run) return add_strided(key, view, slot_strides);
  std::uint8_t order[kMaxDims];
  memory_order(view.ndim, nullptr, order);
  Dim dims[kMaxWalkDims];
  const int count = merge_dims(view.ndim, view.shape, view.strides, order, itemsize, dims);
  if (count != 2) return add_strided(key, view, nullptr);
  key.is_run = true;
  key.run_stride = dims[1].stride;
  return find_run(key);
}

std::uint32_t ElementCopies::find_repeated(const void* source, c10::ScalarType dtype,
                                           const void* slot) {
  const std::size_t size = c10::elementSize(dtype);
  return find_run({.from = dtype,
                   .to = dtype,
                   .swapped = false,
                   .source_aligned = is_multiple(source, size),
                   .slot_aligned = is_multiple(slot, size),
                   .is_run = true,
                   .run_stride = 0});
}

// One like this, but for addresses like these.
std::uint32_t ElementCopies::realigned(std::uint32_t index, const void* source, const void* slot) {
  ElementCopy copy = copies_[index];
  copy.key.source_aligned = is_multiple(source, copy.from_size);
  copy.key.slot_aligned = is_multiple(slot, copy.to_size);
  const bool has_one_run =
      copy.write_dim_count == 0 ||
      is_one_run(dims_.data() + copy.write_dims, copy.write_dim_count, copy.to_size);
  copy.writes_in_place = has_one_run && (copy.key.slot_aligned || copy.cast == nullptr);
  copies_.push_back(copy);
  return static_cast<std::uint32_t>(copies_.size() - 1);
}

std::size_t ElementCopies::oldest_to_try() const {
  return copies_.size() - std::min(copies_.size(), kCopiesToTry);
}

std::uint32_t ElementCopies::find_run(const ElementCopy::Key& key) {
  for (std::size_t i = copies_.size(); i-- > oldest_to_try();) {
    if (copies_[i].key == key) return static_cast<std::uint32_t>(i);
  }
  return add(key);
}

bool ElementCopies::has_shape(const ElementCopy& copy, const ArrayView& view,
                              const std::int64_t* slot_strides) const {
  if (copy.ndim != view.ndim) return false;
  const std::int64_t* layout = layouts_.data() + copy.layout;
  const auto ndim = static_cast<std::size_t>(view.ndim);
  if (!std::equal(view.shape, view.shape + ndim, layout)) return false;
  if (!std::equal(view.strides, view.strides + ndim, layout + ndim)) return false;
  if (slot_strides == nullptr) return copy.write_dim_count == 0;
  if (copy.write_dim_count == 0) return false;
  return std::equal(slot_strides, slot_strides + ndim, layout + 2 * ndim);
}

std::uint32_t ElementCopies::add(const ElementCopy::Key& key) {
  ElementCopy copy{};
  copy.key = key;
  copy.from_size = static_cast<std::uint8_t>(c10::elementSize(key.from));
  copy.to_size = static_cast<std::uint8_t>(c10::elementSize(key.to));
  const std::uint8_t widest = std::max(copy.from_size, copy.to_size);
  copy.widest_bits = static_cast<std::uint8_t>(std::countr_zero(widest));
  copy.reads_in_place = key.is_run && key.run_stride == copy.from_size && !key.swapped;
  const bool converts = key.from != key.to || key.normalization != nullptr;
  copy.writes_in_place = key.slot_aligned || !converts;
  copy.read = strided_copy_function(copy.from_size, swap_of(key.from, key.swapped));
  copy.write = scatter_function(copy.to_size);
  copy.cast = converts ? cast_function(key.from, key.to) : nullptr;
  copies_.push_back(copy);
  return static_cast<std::uint32_t>(copies_.size() - 1);
}

std::uint32_t ElementCopies::add_strided(const ElementCopy::Key& key, const ArrayView& view,
                                         const std::int64_t* slot_strides) {
  const std::uint32_t index = add(key);
  ElementCopy& copy = copies_[index];
  copy.ndim = view.ndim;
  copy.layout = layouts_.size();
  layouts_.append(view.shape, view.shape + view.ndim);
  layouts_.append(view.strides, view.strides + view.ndim);

  std::uint8_t order[kMaxDims];
  memory_order(view.ndim, slot_strides, order);
  Dim dims[kMaxWalkDims];
  int count = merge_dims(view.ndim, view.shape, view.strides, order, copy.from_size, dims);
  copy.read_dims = dims_.size();
  copy.read_dim_count = static_cast<std::uint8_t>(count);
  copy.reads_in_place = is_one_run(dims, count, copy.from_size) && !key.swapped;
  copy.channel_run = channel_run_in(view, order);
  copy.normalizes_rows = key.normalization != nullptr && key.from == c10::kByte &&
                         dims[count - 1].size >= kShortestRow;
  dims_.append(dims, dims + count);
  if (slot_strides == nullptr) return index;

  layouts_.append(slot_strides, slot_strides + view.ndim);
  count = merge_dims(view.ndim, view.shape, slot_strides, order, copy.to_size, dims);
  copy.write_dims = dims_.size();
  copy.write_dim_count = static_cast<std::uint8_t>(count);
  copy.writes_in_place = copy.writes_in_place && is_one_run(dims, count, copy.to_size);
  dims_.append(dims, dims + count);
  return index;
}

std::int64_t ElementCopies::elements_before(const ElementCopy& copy, std::int64_t numel,
                                            std::ptrdiff_t offset) const {
  if (offset <= 0) return 0;
  if (copy.write_dim_count == 0) return std::min<std::int64_t>(offset / copy.to_size, numel);
  const Dim* dims = dims_.data() + copy.write_dims;
  std::int64_t count = 0;
  for (int d = 0; d < copy.write_dim_count; ++d) {
    if (dims[d].size == 1) continue;
    const std::int64_t index = offset / dims[d].stride;
    if (index >= dims[d].size) return count + numel;
    numel /= dims[d].size;
    count += index * numel;
    offset -= index * dims[d].stride;
  }
  return offset > 0 ? count + 1 : count;
}

void ElementCopies::clear() {
  copies_.clear();
  layouts_.clear();
  dims_.clear();
}

void ElementCopies::normalize_rows(const ElementCopy& copy, const char* source, char* slot,
                                   std::int64_t begin, std::int64_t end) const {
  Walker reader(dims_.data() + copy.read_dims, copy.read_dim_count, const_cast<char*>(source),
                begin);
  while (begin < end) {
    const Rows rows = reader.next(end - begin);
    for (std::int64_t r = 0; r < rows.count; ++r) {
      copy.key.normalization->run({.elements = rows.first + r * rows.row_stride,
                                   .stride = rows.column_stride,
                                   .first = begin,
                                   .count = rows.columns,
                                   .channel_run = copy.channel_run},
                                  copy.key.from, slot + begin * copy.to_size);
      begin += rows.columns;
    }
  }
}

void ElementCopies::rearrange(const ElementCopy& copy, const char* source, char* slot,
                              std::int64_t numel, std::int64_t begin, std::int64_t end) const {
  if (copy.normalizes_rows && copy.writes_in_place) {
    return normalize_rows(copy, source, slot, begin, end);
  }
  const char* elements = source + begin * copy.from_size;  // where reads_in_place
  char* target = slot + begin * copy.to_size;              // where writes_in_place
  if (copy.cast == nullptr && copy.key.is_run && copy.writes_in_place) {
    const std::int64_t stride = copy.key.run_stride;
    const Rows row{const_cast<char*>(source) + begin * stride, end - begin, stride, 1, 0};
    copy.read(row, target);
  } else if (copy.reads_in_place && copy.writes_in_place && copy.key.source_aligned) {
    convert(copy, elements, target, begin, end - begin);
  } else {
    rearrange_in_blocks(copy, source, slot, numel, begin, end);
  }
}

void ElementCopies::rearrange_in_blocks(const ElementCopy& copy, const char* source, char* slot,
                                        std::int64_t numel, std::int64_t begin,
                                        std::int64_t end) const {
  const Dim run[] = {{1, 0}, {numel, copy.key.run_stride}};
  const Dim* read_dims = copy.key.is_run ? run : dims_.data() + copy.read_dims;
  const int read_dim_count = copy.key.is_run ? 2 : copy.read_dim_count;
  const auto read = [&](Walker& walker, char* target, std::int64_t count) {
    while (count > 0) {
      const Rows rows = walker.next(count);
      copy.read(rows, target);
      target += rows.count * rows.columns * copy.from_size;
      count -= rows.count * rows.columns;
    }
  };
  const auto write = [&](Walker& walker, const char* source, std::int64_t count) {
    while (count > 0) {
      const Rows rows = walker.next(count);
      copy.write(source, rows);
      source += rows.count * rows.columns * copy.to_size;
      count -= rows.count * rows.columns;
    }
  };
  // A walker for reading never writes.
  Walker reader(read_dims, read_dim_count, const_cast<char*>(source), begin);
  char* target = slot + begin * copy.to_size;  // where writes_in_place
  if (copy.cast == nullptr && copy.writes_in_place) return read(reader, target, end - begin);

  const Dim in_place[] = {{1, 0}, {numel, copy.to_size}};  // misaligned for a cast
  const bool has_strides = copy.write_dim_count > 0;
  Walker writer(has_strides ? dims_.data() + copy.write_dims : in_place,
                has_strides ? copy.write_dim_count : 2, slot, begin);
  const char* next = source + begin * copy.from_size;  // where reads_in_place
  if (copy.cast == nullptr && copy.reads_in_place) return write(writer, next, end - begin);

  alignas(64) char read_block[kBlockBytes];
  alignas(64) char cast_block[kBlockBytes];
  const bool reads_in_place = copy.reads_in_place && copy.key.source_aligned;
  const std::int64_t block_items =
      static_cast<std::int64_t>(kBlockBytes) / static_cast<std::int64_t>(copy.widest());
  while (begin < end) {
    const std::int64_t count = std::min(block_items, end - begin);
    const char* elements = next;
    if (!reads_in_place) {
      read(reader, read_block, count);
      elements = read_block;
    }
    if (copy.cast != nullptr) {
      char* result = copy.writes_in_place ? target : cast_block;
      convert(copy, elements, result, begin, count);
      elements = result;
    }
    if (!copy.writes_in_place) write(writer, elements, count);
    next += count * copy.from_size;
    target += count * copy.to_size;
    begin += count;
  }
}

}  // namespace tensorlift
