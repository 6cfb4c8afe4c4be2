// from_numpy to memory that is packed: pinned, or on a device.
#pragma once

#include <optional>

#include "binding/device_options.h"
#include "binding/python_api.h"
#include "plan/plan.h"

namespace tensorlift {

// One tensor per array, on the device, or in pinned memory where there is none; `takes_tensors`:
// also one per tensor. GIL held; let go of while elements are copied and sent.
[[nodiscard]] py::list from_numpy_packed(py::handle arrays, const ConvertOptions& options,
                                         const std::optional<TransferOptions>& device,
                                         std::optional<int> threads, bool takes_tensors = false);

}  // namespace tensorlift
