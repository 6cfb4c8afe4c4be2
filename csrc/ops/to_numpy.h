// to_numpy: a list of tensors → a NumPy array each, over the same memory.
#pragma once

#include "binding/python_api.h"

namespace tensorlift {

// `copy`: None, or whether all are copied. NotImplemented where a tensor is on another device,
// which is left to Python. Throws TypeError, or RuntimeError as Tensor.numpy() does, that names
// tensors[i]. GIL held.
[[nodiscard]] py::object to_numpy(py::handle tensors, py::handle copy);

}  // namespace tensorlift
