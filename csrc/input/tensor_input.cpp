#include "input/tensor_input.h"

#include <string>

#include "copy/cast.h"
#include "errors.h"
#include "memory/host_memory.h"
#include "plain_dispatch.h"
#include "text.h"

namespace tensorlift {
namespace {

void check(std::size_t index, const char* type_name, const at::Tensor& tensor) {
  const std::string name = "arrays[" + std::to_string(index) + "]: expected ";
  if (!has_plain_memory(tensor)) {
    throw TypeError(name + "numpy.ndarray or a strided tensor with memory of its own, got " +
                    type_name +
                    " without (sparse, nested, fake, transformed, or its storage was freed). Use "
                    "torch's own function, or to_dense().");
  }
  if (!tensor.device().is_cpu()) {
    throw ValueError(name + "a tensor in the host's memory, got one on " + tensor.device().str() +
                     (tensor.is_meta() ? ", which has no elements." : ". Use tensor.cpu()."));
  }
  if (needs_gradient(tensor)) {
    throw ValueError(name +
                     "a tensor that needs no gradient, got one that requires grad. Use "
                     "tensor.detach(); torch's own functions keep the gradient.");
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

// A copy that no mode or transformation of torch's gets to see: it would give another kind of
// tensor.
at::Tensor plain_clone(const at::Tensor& tensor) {
  const PlainDispatch plain;
  return tensor.clone();
}

}  // namespace

ArrayView view_of_tensor(std::size_t index, const char* type_name, at::Tensor& tensor,
                         std::int64_t* strides) {
  check(index, type_name, tensor);
  if (tensor.is_conj() || tensor.is_neg() || tensor._is_zerotensor()) {
    tensor = plain_clone(tensor);
    check(index, type_name, tensor);
  }
  const auto itemsize = static_cast<std::uint8_t>(tensor.itemsize());
  for (std::int64_t d = 0; d < tensor.dim(); ++d) strides[d] = byte_stride(tensor, d);
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
