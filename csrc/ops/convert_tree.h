// convert: a tree of arrays → the same tree with tensors in their place, as
// torch.utils.data.default_convert.
#pragma once

#include <optional>

#include "binding/python_api.h"
#include "ops/from_numpy.h"
#include "plan/plan.h"

namespace tensorlift {

// Of dicts, lists, tuples, named tuples and records; NotImplemented where there is a container
// or a leaf of another type. Arrays of text and objects stay as they are, and so do tensors,
// numbers and text. Errors are those of from_numpy(), of all arrays in order. GIL held.
[[nodiscard]] py::object convert_tree(py::handle tree, const ConvertOptions& options,
                                      const Placement& placement, std::optional<int> threads);

}  // namespace tensorlift
