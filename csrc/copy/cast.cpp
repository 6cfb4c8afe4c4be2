#include "copy/cast.h"

#include <c10/util/TypeCast.h>
#include <c10/util/complex.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#include "copy/float16.h"
#include "copy/simd.h"
#include "copy/test_grain.h"

namespace tensorlift {
namespace {

// The dtypes that we read and write, in the order of the table below.
using CastTypes =
    std::tuple<bool, std::uint8_t, std::int8_t, std::int16_t, std::uint16_t, std::int32_t,
               std::uint32_t, std::int64_t, std::uint64_t, c10::Half, c10::BFloat16, float, double,
               c10::complex<c10::Half>, c10::complex<float>, c10::complex<double>,
               c10::Float8_e4m3fn, c10::Float8_e5m2, c10::Float8_e4m3fnuz, c10::Float8_e5m2fnuz,
               c10::Float8_e8m0fnu>;
constexpr std::size_t kTypeCount = std::tuple_size_v<CastTypes>;

template <std::size_t Index>
using CastType = std::tuple_element_t<Index, CastTypes>;

// A NumPy bool may hold any byte (uint8 data viewed as bool); read as a C++ bool that is undefined.
// torch reads it so too (c10::load).
template <typename T>
using Stored = std::conditional_t<std::is_same_v<T, bool>, std::uint8_t, T>;

// As 0 or 1, which the compiler makes a vector of, unlike a bool.
template <typename T>
Stored<T> load(Stored<T> stored) {
  if constexpr (std::is_same_v<T, bool>) {
    return std::min<std::uint8_t>(stored, 1);
  } else {
    return stored;
  }
}

// c10::Half keeps nothing of a NaN but its sign where it is compiled for any CPU; the instructions
// that torch's kernels use on x86 (F16C) and Arm keep the payload's upper bits. So do we.
c10::Half to_half(float value) {
  if (value == value) [[likely]] {
    return value;
  }
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  return c10::Half(static_cast<std::uint16_t>(sign | 0x7e00U | ((bits >> 13) & 0x3ffU)),
                   c10::Half::from_bits());
}

#if defined(__clang__) && defined(__x86_64__)
constexpr bool kConvertsToUnsignedAsTorch = false;
#else
constexpr bool kConvertsToUnsignedAsTorch = true;
#endif

// GCC sees their NaN as a constant, which makes it 0 where an instruction gives something else.
template <typename T>
constexpr bool kHasOneNaN =
    std::is_same_v<T, c10::Float8_e4m3fnuz> || std::is_same_v<T, c10::Float8_e5m2fnuz> ||
    std::is_same_v<T, c10::Float8_e8m0fnu>;

// C++ leaves open what a float outside an integer's range becomes. torch's loops, which GCC
// compiles, convert to a wider integer and keep its lower bits; clang has vector instructions that
// saturate, and sequences of its own for the unsigned.
template <typename To, typename From>
To float_to_integer(From value) {
  if constexpr (sizeof(To) < sizeof(std::int32_t) && !std::is_same_v<To, std::uint8_t>) {
    return static_cast<To>(c10::convert<std::int32_t, From>(value));
  } else if constexpr (kConvertsToUnsignedAsTorch || std::is_signed_v<To>) {
    return c10::convert<To, From>(value);
  } else if constexpr (std::is_same_v<To, std::uint64_t>) {
    constexpr To kTopBit = To{1} << 63;
    constexpr auto kLimit = static_cast<double>(kTopBit);
    const auto number = c10::convert<double, From>(value);
    if (kHasOneNaN<From> && number != number) return 0;
    if (number >= kLimit)
      return static_cast<To>(c10::convert<std::int64_t>(number - kLimit)) ^ kTopBit;
    return static_cast<To>(c10::convert<std::int64_t>(number));
  } else {
    return static_cast<To>(c10::convert<std::int64_t, From>(value));
  }
}

template <typename To, typename From>
To convert_number(From value) {
  if constexpr (std::is_same_v<From, To>) {
    return value;
  } else if constexpr (std::is_same_v<To, c10::Half>) {
    return to_half(c10::convert<float, From>(value));
  } else if constexpr (std::is_same_v<To, c10::complex<c10::Half>>) {
    const auto parts = c10::convert<c10::complex<float>, From>(value);
    return To(to_half(parts.real()), to_half(parts.imag()));
  } else if constexpr (std::is_integral_v<To> && !std::is_same_v<To, bool> &&
                       !std::is_integral_v<From>) {
    return float_to_integer<To, From>(value);
  } else {
    return c10::convert<To, From>(value);
  }
}

template <typename From, typename To>
TENSORLIFT_SIMD void cast_run(const void* __restrict source, void* __restrict target,
                              std::int64_t count) {
  const auto* from = static_cast<const Stored<From>*>(source);
  auto* to = static_cast<To*>(target);
  for (std::int64_t i = 0; i < count; ++i)
    to[i] = convert_number<To, Stored<From>>(load<From>(from[i]));
}

// float16 is cast by way of float32, as convert_number() does it, in runs that stay in the cache.
constexpr std::int64_t kHalvesAtOnce = kIsTestGrain ? 16 : 1024;

template <typename From>
void cast_to_half(const void* source, void* target, std::int64_t count) {
  if (!has_float16_instructions()) return cast_run<From, c10::Half>(source, target, count);
  const auto* from = static_cast<const From*>(source);
  auto* to = static_cast<std::uint16_t*>(target);
  if constexpr (std::is_same_v<From, float>) {
    float32_to_float16(from, to, count);
  } else {
    float floats[kHalvesAtOnce];
    for (std::int64_t i = 0; i < count; i += kHalvesAtOnce) {
      const std::int64_t run = std::min(kHalvesAtOnce, count - i);
      cast_run<From, float>(from + i, floats, run);
      float32_to_float16(floats, to + i, run);
    }
  }
}

template <typename To>
void cast_from_half(const void* source, void* target, std::int64_t count) {
  if (!has_float16_instructions()) return cast_run<c10::Half, To>(source, target, count);
  const auto* from = static_cast<const std::uint16_t*>(source);
  auto* to = static_cast<To*>(target);
  if constexpr (std::is_same_v<To, float>) {
    float16_to_float32(from, to, count);
  } else {
    float floats[kHalvesAtOnce];
    for (std::int64_t i = 0; i < count; i += kHalvesAtOnce) {
      const std::int64_t run = std::min(kHalvesAtOnce, count - i);
      float16_to_float32(from + i, floats, run);
      cast_run<float, To>(floats, to + i, run);
    }
  }
}

// Numbers of which float16 is made, or that are made of it, by way of float32. (Not unsigned
// numbers of more than 8 bits: what a NaN becomes there depends on how the loop is compiled.)
template <typename T>
constexpr bool kGoesThroughFloat =
    std::is_floating_point_v<T> || std::is_same_v<T, c10::BFloat16> ||
    std::is_same_v<T, std::uint8_t> || (std::is_integral_v<T> && std::is_signed_v<T>);

template <typename From, typename To>
constexpr CastFunction function_for() {
  if constexpr (std::is_same_v<To, c10::Half> &&
                (kGoesThroughFloat<From> || std::is_same_v<From, bool>)) {
    return &cast_to_half<From>;
  } else if constexpr (std::is_same_v<From, c10::Half> && kGoesThroughFloat<To>) {
    return &cast_from_half<To>;
  } else {
    return &cast_run<From, To>;
  }
}

using CastRow = std::array<CastFunction, kTypeCount>;

template <typename From, std::size_t... To>
constexpr CastRow cast_row(std::index_sequence<To...>) {
  return {function_for<From, CastType<To>>()...};
}

template <std::size_t... From>
constexpr std::array<CastRow, kTypeCount> cast_table(std::index_sequence<From...>) {
  return {cast_row<CastType<From>>(std::make_index_sequence<kTypeCount>())...};
}

constexpr auto kCastTable = cast_table(std::make_index_sequence<kTypeCount>());

constexpr int kScalarTypeCount = static_cast<int>(c10::ScalarType::NumOptions) + 1;

// ScalarType to row of the table, -1 for what is not in it.
template <std::size_t... Index>
constexpr std::array<std::int8_t, kScalarTypeCount> table_indices(std::index_sequence<Index...>) {
  std::array<std::int8_t, kScalarTypeCount> indices{};
  for (auto& index : indices) index = -1;
  ((indices[static_cast<int>(c10::CppTypeToScalarType<CastType<Index>>::value)] =
        static_cast<std::int8_t>(Index)),
   ...);
  return indices;
}

constexpr auto kTableIndex = table_indices(std::make_index_sequence<kTypeCount>());

}  // namespace

CastFunction cast_function(c10::ScalarType from, c10::ScalarType to) {
  const int row = kTableIndex[static_cast<int>(from)];
  const int column = kTableIndex[static_cast<int>(to)];
  return row < 0 || column < 0 ? nullptr : kCastTable[row][column];
}

}  // namespace tensorlift
