// The arithmetic of copy/normalization.h where a batch has arrived, by torch's own kernels, which
// give the same bits.
#pragma once

#include <ATen/core/Tensor.h>

namespace tensorlift {

// Enqueues it on the current stream. `result` has the shape of `sent`, and a floating-point dtype.
// `numbers`: scales, means and standard deviations [3, ...], each of which broadcasts to them, of
// the dtype to compute in.
void normalize_on_device(const at::Tensor& sent, const at::Tensor& numbers,
                         const at::Tensor& result);

}  // namespace tensorlift
