// Batches that are gathered into staging memory and sent together. Without the GIL; knows nothing
// of Python.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "device/transfer.h"
#include "plan/batch_plan.h"

namespace tensorlift {

// A batch that is to be sent. Borrows its plan.
struct BatchToSend {
  const BatchPlan& plan;
  at::Tensor sizes;  // contiguous, of the host; or undefined
  // Tensors of the caller's on the device, of the shapes and dtypes of what is to be there;
  // undefined: new ones are made.
  at::Tensor out{}, extents_out{};
};

struct SentBatch {
  at::Tensor values;
  at::Tensor sizes;  // defined where they were
};

// The batches on the device, each tensor in memory of its own, or in the caller's, which is written
// to once the consumer's stream has done what it was given. Throws c10::Error: no memory.
[[nodiscard]] std::vector<SentBatch> send_batches(const std::vector<BatchToSend>& batches,
                                                  const TransferOptions& device,
                                                  std::optional<int> threads);

// How they would be sent.
struct BatchRoute {
  TransferCounts counts;
  bool is_converted_there;  // the first one: cast or normalised on the device
};
[[nodiscard]] BatchRoute route_of(const std::vector<BatchToSend>& batches);

}  // namespace tensorlift
