// NumPy dtype → what torch can make of its elements.
#pragma once

#include <array>
#include <cstddef>

#include "binding/python_api.h"
#include "plan/array_view.h"

namespace tensorlift {

namespace numpy_dtype {

// By type number; what is not named is unsupported.
extern const std::array<ElementType, NPY_NTYPES_LEGACY> kBuiltinTypes;

ElementType other_element_type(const PyArray_Descr* descr);

}  // namespace numpy_dtype

// Knows ml_dtypes' types by name, without importing ml_dtypes. The byte order is not looked at.
// GIL held.
[[nodiscard]] inline ElementType element_type(const PyArray_Descr* descr) {
  const int number = descr->type_num;
  if (number >= 0 && number < NPY_NTYPES_LEGACY) {
    return numpy_dtype::kBuiltinTypes[static_cast<std::size_t>(number)];
  }
  return numpy_dtype::other_element_type(descr);
}

// NumPy's dtype with the same bits as torch's; null: it has none, or ml_dtypes, whose it is, cannot
// be imported. GIL held.
[[nodiscard]] py::object numpy_dtype_of(c10::ScalarType type);

}  // namespace tensorlift
