// Strided copy: elements that lie anywhere (any stride, any alignment, either byte order) are
// written next to each other, and the other way round. Knows item sizes, not dtypes.
#pragma once

#include <cstdint>

namespace tensorlift {

// Items in rows; strides in bytes, which may be negative, zero or odd.
struct Rows {
  char* first;  // may be misaligned
  std::int64_t columns;
  std::int64_t column_stride;
  std::int64_t count;
  std::int64_t row_stride;
};

// Copies all items, row after row, to `target`, where they lie contiguously. The target may be
// misaligned; it does not overlap the source.
using StridedCopyFunction = void (*)(const Rows& source, char* target);

// The way back: items that lie contiguously at `source`, which may be misaligned, are written to
// the rows, which do not overlap it.
using ScatterFunction = void (*)(const char* source, const Rows& target);

// How the bytes of one item are turned around.
enum class Swap : std::uint8_t {
  kNone,
  kWhole,  // a number: all bytes
  kHalves  // a complex number: those of the real and of the imaginary part, each by itself
};

// `itemsize` is 1, 2, 4, 8 or 16 bytes; anything else throws InternalError.
[[nodiscard]] StridedCopyFunction strided_copy_function(int itemsize, Swap swap);

[[nodiscard]] ScatterFunction scatter_function(int itemsize);

}  // namespace tensorlift
