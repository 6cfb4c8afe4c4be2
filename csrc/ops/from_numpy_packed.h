// from_numpy to a device.
#pragma once

#include <optional>
#include <vector>

#include "binding/device_options.h"
#include "binding/python_api.h"
#include "device/transfer.h"
#include "plan/plan.h"
#include "plan/slabs.h"
#include "plan/sources.h"

namespace tensorlift {

// One tensor per array; `takes_tensors`: also one per tensor. GIL held; released while elements
// are copied and sent.
[[nodiscard]] py::list from_numpy_packed(py::handle arrays, const ConvertOptions& options,
                                         const TransferOptions& device, Packing packing,
                                         std::optional<int> threads, bool takes_tensors = false);

// How the arrays would be sent.
struct ArrayRoute {
  bool is_pinned;               // from where they lie, not through a buffer
  bool is_cast, is_cast_there;  // at all; on the device
};
struct ListRoute {
  std::vector<ArrayRoute> arrays;
  TransferCounts counts;
};
[[nodiscard]] ListRoute route_of(const Sources& sources, std::optional<c10::ScalarType> dtype,
                                 const TransferOptions& device, Packing packing);

}  // namespace tensorlift
