// batch: a list of arrays → one tensor. Conducts the stages for stack, cat, pad and jagged, which
// differ in their layout alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "binding/device_options.h"
#include "binding/python_api.h"
#include "device/batch_on_device.h"
#include "input/source_reader.h"
#include "memory/output.h"
#include "plan/batch_plan.h"

namespace tensorlift {

struct OutOnDevice {
  py::handle non_blocking, stream;  // arguments of the call
};

struct BatchOptions : JoinOptions {
  std::optional<std::int64_t> channel_dim;  // of every array: moved to the front
  bool reverses_channels = false;
  std::optional<at::Tensor> out;
  OutputMemory memory = OutputMemory::kPageable;
  std::optional<DeviceOptions> device;  // none: in the host's memory, or where `out` is
  // How an `out` on a device is written to, where `device` was not given. Not looked at before it
  // is: what torch joins may be in a graph.
  std::optional<OutOnDevice> out_on_device;
  std::optional<int> threads;
};

struct Batch {
  at::Tensor values;  // `out` where that was given
  at::Tensor sizes;   // see BatchPlan::sizes_shape(); undefined where there are none
  at::Tensor mask;    // undefined where none was asked for
};

[[nodiscard]] ReadOptions read_options(const BatchOptions& options);

// GIL held; released while elements are copied, if that is much, or sent.
// What cannot be joined is a BatchTypeError or a BatchValueError, or ForTorch.
[[nodiscard]] Batch make_batch(const Items& items, const BatchOptions& options);

// Batches in new memory, each with its sizes or offsets. `out` is not looked at. GIL held; as
// above.
[[nodiscard]] std::vector<Batch> make_new_batches(const std::vector<BatchToSend>& batches,
                                                  const BatchOptions& options);

// The batch's sizes or offsets, in the host's memory, never pinned: written here. Undefined where
// there are none.
[[nodiscard]] at::Tensor sizes_of_arrays(const BatchPlan& plan);

// Writes `from` to `to`: same shape, same dtype. GIL not needed.
void copy_tensor(const Destination& from, const Destination& to, std::optional<int> threads);

}  // namespace tensorlift
