// float16: runs of float16 to float32 and back by the processor's own instructions, where it has
// them.
#pragma once

#include <cstdint>

namespace tensorlift {

// c10::Half computes with integers where it is compiled for any x86-64 processor: 0.6 numbers a
// nanosecond, against some 10 by F16C, which all have had since 2013. (On Arm it uses the
// processor's instructions in any case.)
[[nodiscard]] bool has_float16_instructions();

// Call these only where that is true. Rounded to the nearest even, as IEEE 754 and torch have it;
// of a NaN the upper bits of the payload are kept. Any alignment; no overlap.
void float16_to_float32(const std::uint16_t* source, float* target, std::int64_t count);
void float32_to_float16(const float* source, std::uint16_t* target, std::int64_t count);

}  // namespace tensorlift
