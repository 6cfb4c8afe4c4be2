// explain: the planner's answer for every array, without doing it.
#pragma once

#include "binding/python_api.h"
#include "plan/plan.h"

namespace tensorlift {

// One tuple per array: (action, reason, shape, dtype in, dtype out, nbytes, message), where action
// is "shared", "copied" or "rejected"; shape, dtype in and dtype out are None where there is none;
// nbytes is the tensor's share of memory (0 for a rejected array); message is the error that
// from_numpy would raise, else None. GIL held.
[[nodiscard]] py::list explain(py::handle arrays, const ConvertOptions& options);

}  // namespace tensorlift
