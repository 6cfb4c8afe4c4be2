// NumPy scalars: where the value of one lies in its object.
#pragma once

#include "binding/python_api.h"
#include "plan/array_view.h"

namespace tensorlift {

struct ScalarType {
  PyTypeObject* type;
  ElementType element;
  std::size_t offset;  // of the value in the object

  [[nodiscard]] void* value_of(PyObject* scalar) const {
    return reinterpret_cast<char*>(scalar) + offset;
  }
};

// For objects of exactly one of NumPy's own numeric types that torch has as well; nullptr for all
// others. GIL held.
[[nodiscard]] const ScalarType* scalar_type_of(PyObject* object);

}  // namespace tensorlift
