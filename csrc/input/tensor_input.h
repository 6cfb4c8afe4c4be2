// A tensor among the arrays of a batch, read like an array.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>

#include "plan/array_view.h"

namespace tensorlift {

// Reads a tensor; `strides` [kMaxDims] receives its strides in bytes and must live as long as the
// view. Replaces `tensor` by a copy where its numbers are not what lies in memory (a pending
// conjugation or negation). The tensor's memory must stay as long as the view is used.
//
// Throws TypeError or ValueError that begins with "arrays[index]: ": not in the host's memory, not
// strided, of a dtype that is no plain number, or in need of a gradient. `type_name` is for the
// message.
[[nodiscard]] ArrayView view_of_tensor(std::size_t index, const char* type_name, at::Tensor& tensor,
                                       std::int64_t* strides);

// The same, without a word of what is wrong: true for the tensors that are most frequent, strided
// and dense ones in the host's memory that no gradient was ever asked of. A few loads, and no call
// of torch.
[[nodiscard]] bool view_of_common_tensor(const at::Tensor& tensor, ArrayView& view,
                                         std::int64_t* strides);

}  // namespace tensorlift
