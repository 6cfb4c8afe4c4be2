#include "input/numbers.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "input/numpy_scalar.h"

namespace tensorlift {
namespace {

template <std::size_t kSize>
void write_values(c10::ArrayRef<PyObject*> values, const ScalarType& type, void* elements) {
  auto* next = static_cast<char*>(elements);
  for (PyObject* value : values) {
    std::memcpy(next, type.value_of(value), kSize);
    next += kSize;
  }
}

// How far ahead numbers are loaded into the cache: each is an object of its own.
constexpr std::size_t kNumbersAhead = 64;

// The value of an int of one digit, without a call; false: it may have more.
bool read_small([[maybe_unused]] PyObject* number, [[maybe_unused]] std::int64_t& value) {
#if PY_VERSION_HEX >= 0x030C0000
  auto* integer = reinterpret_cast<PyLongObject*>(number);
  if (PyUnstable_Long_IsCompact(integer) == 0) return false;
  value = PyUnstable_Long_CompactValue(integer);
  return true;
#elif PY_VERSION_HEX >= 0x030B0000
  const Py_ssize_t digits = Py_SIZE(number);  // negative where the number is
  if (digits < -1 || digits > 1) return false;
  value = digits == 0 ? 0 : digits * reinterpret_cast<PyLongObject*>(number)->ob_digit[0];
  return true;
#else
  return false;
#endif
}

bool read_integer(PyObject* number, std::int64_t& value) {
  if (read_small(number, value)) return true;
  int overflow = 0;
  value = PyLong_AsLongLongAndOverflow(number, &overflow);
  return overflow == 0;
}

}  // namespace

std::optional<c10::ScalarType> integer_dtype(c10::ArrayRef<PyObject*> values) {
  bool all_bool = true;
  for (PyObject* value : values) {
    if (PyLong_CheckExact(value)) {
      all_bool = false;
    } else if (!PyBool_Check(value)) {
      return std::nullopt;
    }
  }
  return all_bool ? c10::kBool : c10::kLong;
}

std::optional<c10::ScalarType> scalar_dtype(c10::ArrayRef<PyObject*> values) {
  const ScalarType* known = scalar_type_of(values[0]);
  if (known == nullptr) return std::nullopt;
  const bool is_one_type = std::all_of(values.begin(), values.end(), [known](PyObject* value) {
    return Py_TYPE(value) == known->type;
  });
  return is_one_type ? std::optional(known->element.dtype) : std::nullopt;
}

bool write_floats(c10::ArrayRef<PyObject*> values, double* elements) {
  for (PyObject* value : values) {
    if (PyFloat_CheckExact(value)) {
      *elements++ = PyFloat_AS_DOUBLE(value);
      continue;
    }
    if (!PyLong_CheckExact(value) && !PyBool_Check(value)) return false;
    const double number = PyLong_AsDouble(value);
    if (number == -1.0 && PyErr_Occurred()) {
      PyErr_Clear();  // an int that is too large
      return false;
    }
    *elements++ = number;
  }
  return true;
}

bool write_integers(c10::ArrayRef<PyObject*> values, c10::ScalarType dtype, void* elements) {
  if (dtype == c10::kBool) {
    auto* next = static_cast<bool*>(elements);
    for (PyObject* value : values) *next++ = value == Py_True;
    return true;
  }
  auto* next = static_cast<std::int64_t*>(elements);
  return std::all_of(values.begin(), values.end(),
                     [&next](PyObject* value) { return read_integer(value, *next++); });
}

bool write_exact_integers(c10::ArrayRef<PyObject*> values, std::int64_t* elements) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i + kNumbersAhead < values.size()) __builtin_prefetch(values[i + kNumbersAhead]);
    if (!PyLong_CheckExact(values[i]) || !read_integer(values[i], elements[i])) return false;
  }
  return true;
}

void write_scalars(c10::ArrayRef<PyObject*> values, void* elements) {
  const ScalarType& type = *scalar_type_of(values[0]);
  switch (type.element.itemsize) {
    case 1:
      return write_values<1>(values, type, elements);
    case 2:
      return write_values<2>(values, type, elements);
    case 4:
      return write_values<4>(values, type, elements);
    case 8:
      return write_values<8>(values, type, elements);
    default:
      return write_values<16>(values, type, elements);
  }
}

}  // namespace tensorlift
