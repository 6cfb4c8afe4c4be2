// Memory format: the strides of a batch, as torch.stack and torch.cat choose them. Pure.
#pragma once

#include <c10/core/MemoryFormat.h>
#include <c10/util/ArrayRef.h>

#include <optional>

#include "plan/array_view.h"
#include "plan/layout.h"
#include "plan/sources.h"

namespace tensorlift {

struct BatchStrides {
  Shape strides;  // elements
  bool is_contiguous;
};

// In the memory format that is asked for; else, for kStack, kCat and kJagged, in the one that all
// arrays have (torch.channels_last, torch.channels_last_3d), as torch's functions keep it. Throws
// ValueError: a memory format for another number of dimensions.
[[nodiscard]] BatchStrides batch_strides(const Sources& sources, const Layout& layout,
                                         std::optional<c10::MemoryFormat> asked);

}  // namespace tensorlift
