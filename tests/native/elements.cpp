#include "elements.h"

#include <c10/util/TypeCast.h>
#include <c10/util/complex.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace tensorlift::native {
namespace {

template <typename... T>
struct TypeList {};

using Types =
    TypeList<bool, std::uint8_t, std::int8_t, std::int16_t, std::uint16_t, std::int32_t,
             std::uint32_t, std::int64_t, std::uint64_t, c10::Half, c10::BFloat16, float, double,
             c10::complex<c10::Half>, c10::complex<float>, c10::complex<double>, c10::Float8_e4m3fn,
             c10::Float8_e5m2, c10::Float8_e4m3fnuz, c10::Float8_e5m2fnuz, c10::Float8_e8m0fnu>;

template <typename Function, typename... T>
void with_type(c10::ScalarType type, Function function, TypeList<T...> /*types*/) {
  const auto try_type = [&](auto zero) {
    const bool is_it = c10::CppTypeToScalarType<decltype(zero)>::value == type;
    if (is_it) function(zero);
    return is_it;
  };
  (void)(try_type(T()) || ...);
}

// Calls function(T()) with the C++ type.
template <typename Function>
void with_type(c10::ScalarType type, Function function) {
  with_type(type, function, Types());
}

template <typename T>
T load(const char* element) {
  if constexpr (std::is_same_v<T, bool>) {
    return *element != 0;  // any byte but 0 is true
  } else {
    T value;
    std::memcpy(&value, element, sizeof(T));
    return value;
  }
}

std::size_t part_bytes(c10::ScalarType type) {
  return c10::elementSize(type) / (c10::isComplexType(type) ? 2 : 1);
}

// Of a complex number the real part.
double real_value(c10::ScalarType type, const char* element) {
  double value = 0;
  const c10::ScalarType real = c10::isComplexType(type) ? c10::toRealValueType(type) : type;
  convert_element(real, c10::kDouble, element, reinterpret_cast<char*>(&value));
  return value;
}

bool is_float(c10::ScalarType type) {
  return c10::isFloatingType(type) || c10::isComplexType(type);
}

bool is_integer(c10::ScalarType type) { return !is_float(type) && type != c10::kBool; }

// Has `to`, an integer, this value but for its fraction? c10 goes by way of int64 to uint8.
bool is_in_range(double value, c10::ScalarType to) {
  bool is_in = false;
  with_type(to == c10::kByte ? c10::kLong : to, [&](auto zero) {
    using Limits = std::numeric_limits<decltype(zero)>;
    const double above = std::ldexp(1.0, Limits::digits);
    const double whole = std::trunc(value);
    is_in = whole < above && whole >= (Limits::is_signed ? -above : 0.0);
  });
  return is_in;
}

}  // namespace

ElementType element_type(c10::ScalarType type) {
  return {type, ElementKind::kNumber, static_cast<std::uint8_t>(c10::elementSize(type))};
}

void swap_element(c10::ScalarType type, char* element) {
  const std::size_t part = part_bytes(type);
  for (std::size_t i = 0; i < c10::elementSize(type); i += part) {
    std::reverse(element + i, element + i + part);
  }
}

void convert_element(c10::ScalarType from, c10::ScalarType to, const char* source, char* target) {
  with_type(from, [&](auto from_zero) {
    with_type(to, [&](auto to_zero) {
      using From = decltype(from_zero);
      using To = decltype(to_zero);
      const To value = c10::convert<To, From>(load<From>(source));
      std::memcpy(target, &value, sizeof(To));
    });
  });
}

bool is_converted(c10::ScalarType from, c10::ScalarType to, const char* source,
                  const char* expected, const char* actual) {
  const bool has_same_bits = std::memcmp(expected, actual, c10::elementSize(to)) == 0;
  if (from == to || has_same_bits) return has_same_bits;
  if (is_integer(to)) return is_float(from) && !is_in_range(real_value(from, source), to);
  if (!is_float(to)) return false;
  const std::size_t part = part_bytes(to);
  for (std::size_t i = 0; i < c10::elementSize(to); i += part) {
    const bool both_nan =
        std::isnan(real_value(to, expected + i)) && std::isnan(real_value(to, actual + i));
    if (!both_nan && std::memcmp(expected + i, actual + i, part) != 0) return false;
  }
  return true;
}

void fill_elements(Noise& noise, c10::ScalarType type, char* memory, std::size_t nbytes) {
  const std::size_t size = c10::elementSize(type);
  for (std::size_t i = 0; i < nbytes; i += size) {
    char element[kMaxElementBytes];
    for (std::size_t word = 0; word < kMaxElementBytes; word += 4) {
      const std::uint32_t bits = noise.next();
      std::memcpy(element + word, &bits, sizeof(bits));
    }
    const std::uint32_t choice = noise.next();
    if (choice % 2 == 0) {
      const double small = static_cast<double>(choice % 101) / 2 - 10;
      convert_element(c10::kDouble, type, reinterpret_cast<const char*>(&small), element);
    }
    std::memcpy(memory + i, element, std::min(size, nbytes - i));
  }
}

}  // namespace tensorlift::native
