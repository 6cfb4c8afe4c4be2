// Rearrange: elements that lie anywhere (any stride, any alignment, either byte order) are written
// next to each other. Knows item sizes, not dtypes.
#pragma once

#include <cstdint>

namespace tensorlift {

// Items in rows; strides in bytes, which may be negative, zero or odd.
struct Rows {
  const char* first;  // may be misaligned
  std::int64_t columns;
  std::int64_t column_stride;
  std::int64_t count;
  std::int64_t row_stride;
};

// Copies all items, row after row, to `target`, where they lie contiguously. The target may be
// misaligned; it does not overlap the source.
using RearrangeFunction = void (*)(const Rows& source, char* target);

// How the bytes of one item are turned around.
enum class Swap : std::uint8_t {
  kNone,
  kWhole,  // a number: all bytes
  kHalves  // a complex number: those of the real and of the imaginary part, each by itself
};

// `itemsize` is 1, 2, 4, 8 or 16 bytes; anything else throws InternalError.
[[nodiscard]] RearrangeFunction rearrange_function(int itemsize, Swap swap);

}  // namespace tensorlift
