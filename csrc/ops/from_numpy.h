// from_numpy: a list of arrays → a list of tensors. Conducts the stages.
#pragma once

#include <optional>

#include "binding/device_options.h"
#include "binding/python_api.h"
#include "plan/plan.h"
#include "plan/slabs.h"

namespace tensorlift {

// Where the tensors are to be.
struct Placement {
  std::optional<DeviceOptions> device;  // none: in the host's memory
  bool pin_memory = false;
  Packing packing = Packing::kSlabs;  // on the device
};

// One tensor per array, in order. GIL held; released while elements are copied, if that is much,
// or sent.
[[nodiscard]] py::object from_numpy(py::handle arrays, const ConvertOptions& options,
                                    const Placement& placement, std::optional<int> threads);

}  // namespace tensorlift
