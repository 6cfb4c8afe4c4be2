// Options: the arguments of the Python call, checked, as the planner wants them.
#pragma once

#include <optional>

#include "plan.h"
#include "python_api.h"

namespace tensorlift {

// `dtype`: torch.dtype or None; `copy`: bool or None; `readonly`: "warn", "share", "copy" or
// "error". Throws TypeError or ValueError that names the option. GIL held.
[[nodiscard]] ConvertOptions parse_convert_options(py::handle dtype, py::handle copy,
                                                   py::handle readonly);

// A torch.dtype of plain numbers, or None. Throws TypeError. GIL held.
[[nodiscard]] std::optional<c10::ScalarType> parse_dtype(py::handle dtype);

// A positive int or None. Throws TypeError or ValueError. GIL held.
[[nodiscard]] std::optional<int> parse_threads(py::handle threads);

}  // namespace tensorlift
