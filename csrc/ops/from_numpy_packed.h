// from_numpy to a device.
#pragma once

#include <optional>

#include "binding/device_options.h"
#include "binding/python_api.h"
#include "plan/plan.h"
#include "plan/slabs.h"

namespace tensorlift {

// One tensor per array; `takes_tensors`: also one per tensor. GIL held; released while elements
// are copied and sent.
[[nodiscard]] py::list from_numpy_packed(py::handle arrays, const ConvertOptions& options,
                                         const TransferOptions& device, Packing packing,
                                         std::optional<int> threads, bool takes_tensors = false);

}  // namespace tensorlift
