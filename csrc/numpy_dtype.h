// NumPy dtype → what torch can make of its elements.
#pragma once

#include "array_view.h"
#include "python_api.h"

namespace tensorlift {

// Knows ml_dtypes' types by name, without importing ml_dtypes. The byte order is not looked at.
// GIL held.
[[nodiscard]] ElementType element_type(const PyArray_Descr* descr);

}  // namespace tensorlift
