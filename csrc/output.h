// Output: the tensor that a batch is written to: a new one, or the caller's.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/MemoryFormat.h>

#include "sources.h"

namespace tensorlift {

// A new tensor, not filled yet. Pageable: warm memory (see block_cache.h), huge pages for much of
// it; pinned: from the accelerator's own allocator. Throws ValueError: no accelerator to pin for, a
// memory format for another number of dimensions, more than 64 bits of bytes; c10::Error: no
// memory.
[[nodiscard]] at::Tensor make_output(c10::IntArrayRef shape, c10::ScalarType dtype,
                                     c10::MemoryFormat memory_format, bool pinned);

// Throws ValueError unless the caller's tensor can be written to as it is: this shape and dtype, in
// the host's memory, no element at another's address, not needed for a gradient.
void check_out(const at::Tensor& out, c10::IntArrayRef shape, c10::ScalarType dtype);

// Strides in bytes.
[[nodiscard]] Shape byte_strides(const at::Tensor& tensor);

// May some source lie, in part, in the memory of `tensor`? Compares address ranges.
[[nodiscard]] bool may_overlap(const at::Tensor& tensor, const Sources& sources);

}  // namespace tensorlift
