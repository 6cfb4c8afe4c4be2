// Arithmetic in place, in the order of the streams.
#pragma once

#include <ATen/core/Tensor.h>

namespace fake {

// tensor (*, -, /)= other, which broadcasts to it: both on the device, of one dtype. False where
// they are not, and nothing was done.
[[nodiscard]] bool multiply(at::Tensor& tensor, const at::Tensor& other);
[[nodiscard]] bool subtract(at::Tensor& tensor, const at::Tensor& other);
[[nodiscard]] bool divide(at::Tensor& tensor, const at::Tensor& other);

}  // namespace fake
