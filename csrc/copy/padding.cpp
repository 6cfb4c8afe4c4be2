#include "copy/padding.h"

#include <c10/util/Float8_e4m3fn.h>
#include <c10/util/Float8_e4m3fnuz.h>
#include <c10/util/Float8_e5m2.h>
#include <c10/util/Float8_e5m2fnuz.h>
#include <c10/util/Float8_e8m0fnu.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>

#include "copy/cast.h"
#include "errors.h"
#include "text.h"

namespace tensorlift {
namespace {

[[noreturn]] void refuse(const std::string& value, c10::ScalarType dtype) {
  throw ValueError("padding_value: expected a number within the range of " + dtype_text(dtype) +
                   ", got " + value + ".");
}

// "1e+300": as short as it can be.
std::string number_text(double number) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, number).ptr;
  return {text, end};
}

template <typename T>
bool fits_float(double value) {
  using Limits = std::numeric_limits<T>;
  if (std::isnan(value)) return true;
  if (std::isinf(value)) return Limits::has_infinity;
  return std::abs(value) <= static_cast<double>(static_cast<float>(Limits::max()));
}

template <typename T>
bool fits_integer(const c10::Scalar& value) {
  using Limits = std::numeric_limits<T>;
  if (value.isFloatingPoint()) {
    // The bounds are powers of 2 (or one less than one), so the comparisons are exact.
    const double whole = std::trunc(value.toDouble());
    const double above = std::ldexp(1.0, Limits::digits);
    return whole < above && whole >= (Limits::is_signed ? -above : 0.0);
  }
  if (value.type() == c10::kUInt64) {
    return value.toUInt64() <= static_cast<std::uint64_t>(Limits::max());
  }
  const std::int64_t number = value.toLong();
  if (!Limits::is_signed && number < 0) return false;
  if (sizeof(T) == sizeof(std::int64_t)) return true;
  return number >= static_cast<std::int64_t>(Limits::min()) &&
         number <= static_cast<std::int64_t>(Limits::max());
}

double as_double(const c10::Scalar& value) {
  return value.type() == c10::kUInt64 ? static_cast<double>(value.toUInt64()) : value.toDouble();
}

bool fits(const c10::Scalar& value, c10::ScalarType dtype) {
  if (dtype == c10::kBool) return true;
  if (c10::isComplexType(dtype)) {
    const c10::ScalarType part = c10::toRealValueType(dtype);
    const c10::complex<double> parts = value.toComplexDouble();
    return fits(parts.real(), part) && fits(parts.imag(), part);
  }
  if (value.isComplex()) return false;
  switch (dtype) {
    case c10::kByte:
      return fits_integer<std::uint8_t>(value);
    case c10::kChar:
      return fits_integer<std::int8_t>(value);
    case c10::kShort:
      return fits_integer<std::int16_t>(value);
    case c10::kUInt16:
      return fits_integer<std::uint16_t>(value);
    case c10::kInt:
      return fits_integer<std::int32_t>(value);
    case c10::kUInt32:
      return fits_integer<std::uint32_t>(value);
    case c10::kLong:
      return fits_integer<std::int64_t>(value);
    case c10::kUInt64:
      return fits_integer<std::uint64_t>(value);
    case c10::kHalf:
      return fits_float<c10::Half>(as_double(value));
    case c10::kBFloat16:
      return fits_float<c10::BFloat16>(as_double(value));
    case c10::kFloat:
      return fits_float<float>(as_double(value));
    case c10::kFloat8_e4m3fn:
      return fits_float<c10::Float8_e4m3fn>(as_double(value));
    case c10::kFloat8_e5m2:
      return fits_float<c10::Float8_e5m2>(as_double(value));
    case c10::kFloat8_e4m3fnuz:
      return fits_float<c10::Float8_e4m3fnuz>(as_double(value));
    case c10::kFloat8_e5m2fnuz:
      return fits_float<c10::Float8_e5m2fnuz>(as_double(value));
    case c10::kFloat8_e8m0fnu:
      return fits_float<c10::Float8_e8m0fnu>(as_double(value));
    default:
      return true;  // float64
  }
}

// Writes `value` to `number`, which has room for any dtype.
template <typename T>
void convert(T value, c10::ScalarType from, c10::ScalarType dtype, char* number) {
  cast_function(from, dtype)(&value, number, 1);
}

}  // namespace

Padding::Padding(const c10::Scalar& value, c10::ScalarType dtype) : dtype_(dtype), number_{} {
  if (!fits(value, dtype)) {
    refuse(value.isComplex()              ? "a complex number"
           : value.isFloatingPoint()      ? number_text(value.toDouble())
           : value.type() == c10::kUInt64 ? std::to_string(value.toUInt64())
                                          : std::to_string(value.toLong()),
           dtype);
  }
  if (value.isComplex()) {
    convert(value.toComplexDouble(), c10::kComplexDouble, dtype, number_);
  } else if (value.isFloatingPoint()) {
    convert(value.toDouble(), c10::kDouble, dtype, number_);
  } else if (value.type() == c10::kUInt64) {
    convert(value.toUInt64(), c10::kUInt64, dtype, number_);
  } else {
    convert(value.toLong(), c10::kLong, dtype, number_);
  }
}

void Padding::fill(int ndim, const std::int64_t* box, char* slot, const std::int64_t* slot_strides,
                   GatherJobs& jobs) const {
  const auto itemsize = static_cast<std::uint8_t>(c10::elementSize(dtype_));
  std::int64_t numel = 1;
  for (int d = 0; d < ndim; ++d) numel *= box[d];
  if (is_contiguous(ndim, box, slot_strides, itemsize)) {
    return jobs.add_repeated(number_, dtype_, numel, slot);
  }
  static constexpr std::int64_t kNoStrides[kMaxDims] = {};
  ArrayView view;
  view.data = const_cast<char*>(number_);  // only read
  view.shape = box;
  view.strides = kNoStrides;
  view.ndim = ndim;
  view.element = {dtype_, ElementKind::kNumber, itemsize};
  jobs.add(view, numel, dtype_, slot, slot_strides);
}

bool Padding::is_zero() const {
  return std::all_of(number_, number_ + c10::elementSize(dtype_), [](char c) { return c == 0; });
}

}  // namespace tensorlift
