// Host memory: may a tensor's elements be read, or written, where the tensor says they are?
#pragma once

#include <ATen/core/Tensor.h>

namespace tensorlift {

// Is it a strided tensor with a storage: not sparse, nested, fake, functional, or wrapped by a
// transformation?
[[nodiscard]] bool is_plain_strided(const at::Tensor& tensor);

// False for what is no plain strided tensor (sparse, nested, fake, functional, wrapped by a
// transformation), and where the storage was made smaller than the tensor. Says nothing of the
// device.
[[nodiscard]] bool has_plain_memory(const at::Tensor& tensor);

// Would torch record what is done with it, for a gradient of either mode?
[[nodiscard]] bool needs_gradient(const at::Tensor& tensor);

// Does it carry the tangent of forward-mode differentiation?
[[nodiscard]] bool is_dual(const at::Tensor& tensor);

// Strides in bytes; one whose dimension has but one element may be anything.
[[nodiscard]] inline std::int64_t byte_stride(const at::Tensor& tensor, std::int64_t dim) {
  const auto stride = static_cast<std::uint64_t>(tensor.stride(dim));  // may overflow
  return static_cast<std::int64_t>(stride * tensor.itemsize());
}

}  // namespace tensorlift
