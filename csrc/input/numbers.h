// Numbers: Python's and NumPy's scalars, read straight from their objects into a tensor's memory,
// with the dtypes that torch gives them.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <optional>

#include "binding/python_api.h"

namespace tensorlift {

// What torch.tensor(values) gives where all are exactly int or bool: int64, or bool where all are
// bool. std::nullopt: some are something else. GIL held, here and below.
[[nodiscard]] std::optional<c10::ScalarType> integer_dtype(c10::ArrayRef<PyObject*> values);

// What torch.as_tensor(values) gives where all are NumPy scalars of one type that torch has.
[[nodiscard]] std::optional<c10::ScalarType> scalar_dtype(c10::ArrayRef<PyObject*> values);

// Writes float, int and bool objects as float64. False where an object is of another type or its
// value does not fit: then what was written means nothing, and no Python error is set.
[[nodiscard]] bool write_floats(c10::ArrayRef<PyObject*> values, double* elements);

// Writes objects with this integer_dtype(). False as above.
[[nodiscard]] bool write_integers(c10::ArrayRef<PyObject*> values, c10::ScalarType dtype,
                                  void* elements);

// Writes objects that are exactly int as int64. False as above. One pass over the objects, which
// are most of what a tokenizer's list costs.
[[nodiscard]] bool write_exact_integers(c10::ArrayRef<PyObject*> values, std::int64_t* elements);

// Writes objects that have a scalar_dtype().
void write_scalars(c10::ArrayRef<PyObject*> values, void* elements);

}  // namespace tensorlift
