// Foreign memory: objects that are no arrays and have memory all the same, by the buffer protocol
// (memoryview, array.array, mmap), DLPack (JAX, Arrow) or NumPy's own protocols (PIL).
#pragma once

#include "binding/python_api.h"

namespace tensorlift {

// Has its type one of these protocols? Not text, lists, arrays, NumPy scalars or tensors. GIL held.
[[nodiscard]] bool has_foreign_memory(PyObject* item);

// An array over the memory of an item for which that is true, or over a copy where it cannot be
// shared. Runs Python code; throws py::error_already_set where that raises. GIL held.
[[nodiscard]] py::object array_over(PyObject* item);

}  // namespace tensorlift
