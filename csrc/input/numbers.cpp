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
  return is_one_type ? std::optional(known->element.twin) : std::nullopt;
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
  for (PyObject* value : values) {
    int overflow = 0;
    *next++ = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) return false;
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
