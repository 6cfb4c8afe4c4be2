// from_numpy to pinned memory of the host.
#pragma once

#include <optional>

#include "binding/python_api.h"
#include "plan/plan.h"

namespace tensorlift {

// One tensor per array, each with a storage of its own; `takes_tensors`: also one per tensor. GIL
// held; released while memory is pinned and elements are copied.
[[nodiscard]] py::list from_numpy_pinned(py::handle arrays, const ConvertOptions& options,
                                         std::optional<int> threads, bool takes_tensors = false);

}  // namespace tensorlift
