#include "arrays.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "elements.h"
#include "positions.h"

namespace tensorlift::native {
namespace {

// Small enough for many executions a second, large enough for many blocks of a fine cut.
constexpr __int128 kMaxExtent = 4096;

// The range of bytes, relative to the first element, in which all elements lie.
struct Range {
  __int128 begin, end;
};

Range range_of(const Shape& shape, const Shape& strides, std::int64_t itemsize) {
  Range range{0, itemsize};
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 0) return {0, 0};
    const __int128 reach = static_cast<__int128>(shape[d] - 1) * strides[d];
    (reach < 0 ? range.begin : range.end) += reach;
  }
  return range;
}

// In this order of dimensions, the outermost first, and with `gap` bytes between those.
Shape packed_strides(const Shape& shape, const Shape& order, std::int64_t itemsize,
                     std::int64_t gap) {
  Shape strides(shape.size());
  std::int64_t stride = itemsize;
  for (std::size_t i = order.size(); i-- > 0;) {
    const auto d = static_cast<std::size_t>(order[i]);
    strides[d] = stride;
    stride = stride * std::max<std::int64_t>(shape[d], 1) + gap;
  }
  return strides;
}

Shape make_order(Bytes& bytes, std::size_t ndim) {
  Shape order(ndim);
  std::iota(order.begin(), order.end(), 0);
  for (int i = 0; i < 3 && ndim > 1; ++i) {
    const auto limit = static_cast<std::int64_t>(ndim);
    std::swap(order[static_cast<std::size_t>(bytes.below(limit))],
              order[static_cast<std::size_t>(bytes.below(limit))]);
  }
  return order;
}

Shape c_order(std::size_t ndim) {
  Shape order(ndim);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

Shape make_strides(Bytes& bytes, const Shape& shape, std::int64_t itemsize) {
  enum Kind { kContiguous, kPermuted, kFlipped, kAny };
  const auto kind = static_cast<Kind>(bytes.below(4));
  const Shape order = kind == kPermuted ? make_order(bytes, shape.size()) : c_order(shape.size());
  Shape strides =
      packed_strides(shape, order, itemsize, kind == kFlipped ? bytes.below(4) * itemsize : 0);
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (kind == kFlipped && bytes.flag()) strides[d] = -strides[d];
    if (kind == kAny) strides[d] = static_cast<std::int8_t>(bytes.byte());
    const bool means_nothing = shape[d] == 1 || numel_of(shape) == 0;
    if (means_nothing && bytes.once_in(8)) strides[d] = bytes.int64();
  }
  for (std::size_t d = 0; d < shape.size(); ++d) {
    const Range range = range_of(shape, strides, itemsize);
    if (range.end - range.begin <= kMaxExtent) break;
    if (shape[d] > 1) strides[d] = 0;
  }
  return strides;
}

// Elements for an array that has all but these.
void give_memory(Bytes& bytes, Noise& noise, Array& array) {
  const Range range = range_of(array.shape, array.strides, array.element.itemsize);
  const auto nbytes = static_cast<std::size_t>(range.end - range.begin);
  const auto misalignment = static_cast<std::size_t>(bytes.once_in(3) ? bytes.below(16) : 0);
  array.memory.reset(new char[misalignment + nbytes]);
  char* first_byte = array.memory.get() + misalignment;
  fill_elements(noise, array.element.dtype, first_byte, nbytes);
  array.data = first_byte - static_cast<std::ptrdiff_t>(range.begin);
}

}  // namespace

ArrayView Array::view() const {
  ArrayView view;
  view.data = data;
  view.shape = shape.data();
  view.strides = strides.data();
  view.ndim = static_cast<int>(shape.size());
  view.element = element;
  view.source_kind = SourceKind::kArray;
  view.swapped = swapped;
  return view;
}

void Array::read(std::int64_t index, char* result) const {
  std::memcpy(result, data + offset_of(position_of(index, shape), strides), element.itemsize);
  if (swapped) swap_element(element.dtype, result);
}

Shape make_shape(Bytes& bytes, std::int64_t max_numel) {
  constexpr std::int64_t kSizes[] = {1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 64, 129, 2, 3, 1, 0};
  const std::int64_t ndim = bytes.once_in(16) ? bytes.below(kMaxDims + 1) : bytes.below(5);
  Shape shape;
  std::int64_t numel = 1;
  for (std::int64_t d = 0; d < ndim; ++d) {
    std::int64_t size = bytes.one_of(kSizes);
    if (numel * size > max_numel) size = 1;
    numel *= std::max<std::int64_t>(size, 1);  // strides of empty arrays are bounded, too
    shape.push_back(size);
  }
  return shape;
}

Array make_array(Bytes& bytes, Noise& noise, c10::ScalarType type, const Shape& shape) {
  const ElementType element = element_type(type);
  Array array{.element = element,
              .swapped = bytes.once_in(4),
              .shape = shape,
              .strides = make_strides(bytes, shape, element.itemsize),
              .numel = numel_of(shape),
              .memory = nullptr,
              .data = nullptr};
  give_memory(bytes, noise, array);
  return array;
}

Array make_like(Bytes& bytes, Noise& noise, const Array& model) {
  Array array{.element = model.element,
              .swapped = model.swapped,
              .shape = model.shape,
              .strides = model.strides,
              .numel = model.numel,
              .memory = nullptr,
              .data = nullptr};
  give_memory(bytes, noise, array);
  return array;
}

Shape make_slot_strides(Bytes& bytes, const Shape& shape, std::int64_t itemsize) {
  const bool is_permuted = bytes.flag();
  const Shape order = is_permuted ? make_order(bytes, shape.size()) : c_order(shape.size());
  // Not with many dimensions: a gap of each is part of all further out.
  const std::int64_t gap = bytes.flag() && shape.size() < 8 ? bytes.below(5) : 0;
  return packed_strides(shape, order, itemsize, gap);
}

std::int64_t extent_of(const Shape& shape, const Shape& strides, std::int64_t itemsize) {
  return static_cast<std::int64_t>(range_of(shape, strides, itemsize).end);
}

}  // namespace tensorlift::native
