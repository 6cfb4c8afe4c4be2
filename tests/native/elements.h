// Elements: what becomes of a single element, worked out by itself: the oracle of casts and of byte
// orders.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>

#include "../../csrc/plan/array_view.h"
#include "bytes.h"

namespace tensorlift::native {

// All dtypes that can be cast.
inline constexpr c10::ScalarType kTypes[] = {c10::kFloat,
                                             c10::kByte,
                                             c10::kHalf,
                                             c10::kBFloat16,
                                             c10::kDouble,
                                             c10::kLong,
                                             c10::kInt,
                                             c10::kShort,
                                             c10::kChar,
                                             c10::kBool,
                                             c10::kUInt16,
                                             c10::kUInt32,
                                             c10::kUInt64,
                                             c10::kComplexHalf,
                                             c10::kComplexFloat,
                                             c10::kComplexDouble,
                                             c10::kFloat8_e4m3fn,
                                             c10::kFloat8_e5m2,
                                             c10::kFloat8_e4m3fnuz,
                                             c10::kFloat8_e5m2fnuz,
                                             c10::kFloat8_e8m0fnu};

inline constexpr std::size_t kMaxElementBytes = 16;

[[nodiscard]] ElementType element_type(c10::ScalarType type);

// Turns the bytes of each part of a number around.
void swap_element(c10::ScalarType type, char* element);

// What c10::convert makes of the element at `source`. Any alignment.
void convert_element(c10::ScalarType from, c10::ScalarType to, const char* source, char* target);

// Is `actual` what Tensor.to() makes of `source`, where c10::convert makes `expected` of it? Bit
// for bit, but for what torch's own loops do not agree on: the payload of a NaN, and the integer
// that a float out of its range becomes.
[[nodiscard]] bool is_converted(c10::ScalarType from, c10::ScalarType to, const char* source,
                                const char* expected, const char* actual);

// Fills memory with elements: half of them any bits, half of them small numbers.
void fill_elements(Noise& noise, c10::ScalarType type, char* memory, std::size_t nbytes);

}  // namespace tensorlift::native
