// Arrays: sources with any dtype, shape and strides, each in memory of exactly its extent, so that
// an address sanitizer sees every byte that is read beside them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "../../csrc/plan/array_view.h"
#include "bytes.h"

namespace tensorlift::native {

struct Array {
  ElementType element;
  bool swapped;
  Shape shape;
  Shape strides;  // bytes; those of size-1 dimensions, and of empty arrays, may be anything
  std::int64_t numel;
  std::unique_ptr<char[]> memory;
  char* data;

  // Borrows from this.
  [[nodiscard]] ArrayView view() const;

  // Writes the element at an index, counted in C order, in native byte order.
  void read(std::int64_t index, char* element) const;
};

// Up to 64 dimensions, sizes 0 and 1 among them, and at most `max_numel` elements.
[[nodiscard]] Shape make_shape(Bytes& bytes, std::int64_t max_numel);

[[nodiscard]] Array make_array(Bytes& bytes, Noise& noise, c10::ScalarType type,
                               const Shape& shape);

// Another array with all of that but the address and the elements.
[[nodiscard]] Array make_like(Bytes& bytes, Noise& noise, const Array& array);

// Strides of a slot, in bytes: none negative, and no two elements in the same place.
[[nodiscard]] Shape make_slot_strides(Bytes& bytes, const Shape& shape, std::int64_t itemsize);

// Bytes from the first element to the end of the last.
[[nodiscard]] std::int64_t extent_of(const Shape& shape, const Shape& strides,
                                     std::int64_t itemsize);

}  // namespace tensorlift::native
