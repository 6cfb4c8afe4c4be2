// Positions: where an element lies, worked out from its index, dimension by dimension.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../csrc/plan/array_view.h"

namespace tensorlift::native {

[[nodiscard]] inline std::int64_t numel_of(const Shape& shape) {
  std::int64_t numel = 1;
  for (const std::int64_t size : shape) numel *= size;
  return numel;
}

// The position of an index, counted in C order, in every dimension.
[[nodiscard]] inline Shape position_of(std::int64_t index, const Shape& shape) {
  Shape position(shape.size());
  for (std::size_t d = shape.size(); d-- > 0;) {
    position[d] = index % shape[d];
    index /= shape[d];
  }
  return position;
}

[[nodiscard]] inline std::int64_t index_of(const Shape& position, const Shape& shape) {
  std::int64_t index = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) index = index * shape[d] + position[d];
  return index;
}

// From the first element to the one at `position`, in the strides' unit.
[[nodiscard]] inline std::int64_t offset_of(const Shape& position, const Shape& strides) {
  std::int64_t offset = 0;
  for (std::size_t d = 0; d < position.size(); ++d) offset += position[d] * strides[d];
  return offset;
}

}  // namespace tensorlift::native
