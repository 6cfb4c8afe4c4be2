// Batches that are gathered into staging memory and sent together. Without the GIL; knows nothing
// of Python.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/MemoryFormat.h>

#include <optional>
#include <vector>

#include "layout.h"
#include "padding.h"
#include "sources.h"
#include "transfer.h"

namespace tensorlift {

// A batch that is to be sent. Borrows what it refers to.
struct BatchToSend {
  const Sources& sources;
  const Layout& layout;
  const Padding& padding;
  c10::ScalarType dtype;
  c10::MemoryFormat memory_format = c10::MemoryFormat::Contiguous;
  at::Tensor extents{};  // contiguous, of the host; or undefined
};

struct SentBatch {
  at::Tensor values;
  at::Tensor extents;  // defined where they were
};

// The batches on the device; small ones share a storage, if there are several. Throws ValueError as
// make_output() does, c10::Error: no memory.
[[nodiscard]] std::vector<SentBatch> send_batches(const std::vector<BatchToSend>& batches,
                                                  const TransferOptions& device,
                                                  std::optional<int> threads);

}  // namespace tensorlift
