// from_numpy: a list of arrays → a list of tensors. Conducts the stages.
#pragma once

#include <optional>

#include "plan.h"
#include "python_api.h"

namespace tensorlift {

// One tensor per array, in order. GIL held; let go of while elements are copied, if that is much.
[[nodiscard]] py::list from_numpy(py::handle arrays, const ConvertOptions& options,
                                  std::optional<int> threads);

}  // namespace tensorlift
