#include "tensor_input.h"

#include <ATen/core/grad_mode.h>

#include <string>

#include "cast.h"
#include "errors.h"
#include "text.h"

namespace tensorlift {
namespace {

void check(std::size_t index, const char* type_name, const at::Tensor& tensor) {
  const std::string name = "arrays[" + std::to_string(index) + "]: expected ";
  const bool is_plain = tensor.layout() == c10::kStrided && tensor.has_storage() &&
                        !tensor.unsafeGetTensorImpl()->is_python_dispatch();
  if (!is_plain) {
    throw TypeError(name + "numpy.ndarray or a strided tensor, got " + type_name +
                    " without memory that can be read. Use torch's own function, or to_dense().");
  }
  if (!tensor.device().is_cpu()) {
    throw ValueError(name + "a tensor in the host's memory, got one on " + tensor.device().str() +
                     ". Use tensor.cpu().");
  }
  if (tensor.requires_grad() && at::GradMode::is_enabled()) {
    throw ValueError(name +
                     "a tensor that needs no gradient, got one that requires grad. Use "
                     "tensor.detach(), or torch's own function.");
  }
  if (!is_castable(tensor.scalar_type())) {
    throw TypeError(name + "a tensor of plain numbers, got dtype " +
                    dtype_text(tensor.scalar_type()) + ".");
  }
  if (tensor.dim() > kMaxDims) {
    throw ValueError(name + "at most " + std::to_string(kMaxDims) + " dimensions, got " +
                     std::to_string(tensor.dim()) + ".");
  }
}

}  // namespace

ArrayView view_of_tensor(std::size_t index, const char* type_name, at::Tensor& tensor,
                         std::int64_t* strides) {
  check(index, type_name, tensor);
  if (tensor.is_conj() || tensor.is_neg() || tensor._is_zerotensor()) tensor = tensor.clone();
  const auto itemsize = static_cast<std::uint8_t>(tensor.itemsize());
  for (std::int64_t d = 0; d < tensor.dim(); ++d) strides[d] = tensor.stride(d) * itemsize;
  ArrayView view;
  view.data = const_cast<void*>(tensor.const_data_ptr());  // only read
  view.shape = tensor.sizes().data();
  view.strides = strides;
  view.ndim = static_cast<int>(tensor.dim());
  view.element = {tensor.scalar_type(), ElementKind::kTwin, itemsize};
  view.holder = Holder::kArray;
  return view;
}

}  // namespace tensorlift
