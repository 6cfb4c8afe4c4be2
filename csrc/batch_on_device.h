// A batch that is gathered into staging memory and sent. Without the GIL; knows nothing of Python.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/MemoryFormat.h>

#include <optional>
#include <utility>

#include "layout.h"
#include "padding.h"
#include "sources.h"
#include "transfer.h"

namespace tensorlift {

// The batch on the device, and `extents`, a contiguous tensor of the host, where that is defined.
// Throws ValueError as make_output() does, c10::Error: no memory.
[[nodiscard]] std::pair<at::Tensor, at::Tensor> send_batch(
    const Sources& sources, const Layout& layout, const Padding& padding, c10::ScalarType dtype,
    c10::MemoryFormat memory_format, const at::Tensor& extents, const TransferOptions& device,
    std::optional<int> threads);

}  // namespace tensorlift
