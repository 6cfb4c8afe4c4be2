// Rearrange: elements that lie anywhere (any stride, any alignment, either byte order) are written
// next to each other. Knows item sizes, not dtypes.
#pragma once

#include <cstdint>

namespace tensorlift {

// Copies `count` items, `stride` bytes apart (negative, zero and odd allowed), to `target`, where
// they lie contiguously. Source and target may be misaligned; they do not overlap.
using RearrangeFunction = void (*)(const char* source, std::int64_t stride, char* target,
                                   std::int64_t count);

// How the bytes of one item are turned around.
enum class Swap : std::uint8_t {
  kNone,
  kWhole,  // a number: all bytes
  kHalves  // a complex number: those of the real and of the imaginary part, each by itself
};

// `itemsize` is 1, 2, 4, 8 or 16 bytes; anything else throws InternalError.
[[nodiscard]] RearrangeFunction rearrange_function(int itemsize, Swap swap);

}  // namespace tensorlift
