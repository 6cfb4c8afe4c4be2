// Cast: a run of numbers of one dtype becomes a run of another, bit for bit as Tensor.to() does it.
// (Where torch's vector and scalar loops differ from each other, as one of them does it: the
// payload of a NaN, a float outside the range of an integer.)
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

namespace tensorlift {

// Converts `count` numbers. Both runs are contiguous, aligned for their dtypes, and do not overlap.
using CastFunction = void (*)(const void* source, void* target, std::int64_t count);

// The function for a pair of dtypes; nullptr where one of them is no plain number to us (quantized,
// packed sub-byte types).
[[nodiscard]] CastFunction cast_function(c10::ScalarType from, c10::ScalarType to);

// May `dtype=` be this?
[[nodiscard]] inline bool is_castable(c10::ScalarType type) {
  return cast_function(type, type) != nullptr;
}

}  // namespace tensorlift
