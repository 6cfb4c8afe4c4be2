#include "memory/host_memory.h"

#include <ATen/core/grad_mode.h>

namespace tensorlift {
namespace {

// Bytes from the beginning of the storage to the end of the last element; -1 if more than 64 bits.
std::int64_t reach_of(const at::Tensor& tensor) {
  std::int64_t last = tensor.storage_offset();
  for (std::int64_t d = 0; d < tensor.dim(); ++d) {
    std::int64_t steps = 0;
    if (__builtin_mul_overflow(tensor.size(d) - 1, tensor.stride(d), &steps)) return -1;
    if (__builtin_add_overflow(last, steps, &last)) return -1;
  }
  std::int64_t bytes = 0;
  const auto itemsize = static_cast<std::int64_t>(tensor.itemsize());
  if (__builtin_mul_overflow(last + 1, itemsize, &bytes)) return -1;
  return bytes;
}

}  // namespace

bool is_plain_strided(const at::Tensor& tensor) {
  const c10::TensorImpl* impl = tensor.unsafeGetTensorImpl();
  if (tensor.is_nested() || tensor.layout() != c10::kStrided) return false;
  if (impl->is_python_dispatch() || impl->key_set().has(c10::DispatchKey::Functionalize)) {
    return false;
  }
  return tensor.has_storage();
}

bool has_plain_memory(const at::Tensor& tensor) {
  if (!is_plain_strided(tensor)) return false;
  if (tensor.is_meta() || tensor.numel() == 0) return true;
  const std::int64_t reach = reach_of(tensor);
  const c10::Storage& storage = tensor.storage();
  return reach >= 0 && storage.data() != nullptr &&
         static_cast<std::size_t>(reach) <= storage.nbytes();
}

bool needs_gradient(const at::Tensor& tensor) {
  return (tensor.requires_grad() && at::GradMode::is_enabled()) || is_dual(tensor);
}

bool is_dual(const at::Tensor& tensor) { return tensor._fw_grad(/*level=*/0).defined(); }

}  // namespace tensorlift
