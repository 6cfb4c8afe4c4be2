#include "input/tensor_input.h"

#include <algorithm>
#include <string>

#include "copy/cast.h"
#include "dispatch_guard.h"
#include "errors.h"
#include "memory/host_memory.h"
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
  const DispatchGuard plain;
  return tensor.clone();
}

// What the keys of a dense tensor on the CPU may be: none says that its elements are something else
// than what lies in its memory, or that somebody wants to be asked.
const std::uint64_t kCommonKeys = (c10::DispatchKeySet(c10::DispatchKey::CPU) |
                                   c10::DispatchKeySet(c10::DispatchKey::ADInplaceOrView) |
                                   c10::DispatchKeySet(c10::DispatchKey::AutogradCPU) |
                                   c10::DispatchKeySet(c10::DispatchKey::AutocastCPU))
                                      .raw_repr();

}  // namespace

bool view_of_common_tensor(const at::Tensor& tensor, ArrayView& view, std::int64_t* strides) {
  const c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  if ((impl.key_set().raw_repr() & ~kCommonKeys) != 0) return false;
  if (impl.autograd_meta() != nullptr || !impl.has_storage()) return false;
  const c10::ScalarType dtype = c10::typeMetaToScalarType(impl.dtype());
  const c10::IntArrayRef sizes = impl.sizes();
  if (!is_castable(dtype) || sizes.size() > kMaxDims) return false;
  const auto itemsize = static_cast<std::int64_t>(c10::elementSize(dtype));
  if (impl.is_contiguous()) {  // its reach without a walk
    const auto last = (impl.storage_offset() + impl.numel()) * itemsize;
    if (impl.storage().data() == nullptr ||
        static_cast<std::size_t>(last) > impl.storage().nbytes()) {
      return false;  // also an empty one without memory
    }
  } else if (!has_plain_memory(tensor)) {
    return false;
  }
  for (std::size_t d = 0; d < sizes.size(); ++d) {  // those of size 1 as well: see memory_format.h
    strides[d] = byte_stride(tensor, static_cast<std::int64_t>(d));
  }
  view.data = static_cast<char*>(impl.storage().mutable_data()) + impl.storage_offset() * itemsize;
  view.shape = sizes.data();
  view.strides = strides;
  view.ndim = static_cast<int>(sizes.size());
  view.element = {dtype, ElementKind::kNumber, static_cast<std::uint8_t>(itemsize)};
  view.source_kind = SourceKind::kArray;
  return true;
}

bool is_for_torch(const at::Tensor& tensor) {
  return !is_plain_strided(tensor) || !tensor.device().is_cpu() ||
         !is_castable(tensor.scalar_type()) || is_dual(tensor);
}

void TensorSignature::set(const c10::TensorImpl& impl) {
  const c10::IntArrayRef sizes = impl.sizes();
  is_set_ = sizes.size() <= kMostDims && impl.numel() > 0;
  if (!is_set_) return;
  keys_ = impl.key_set();
  dtype_ = impl.dtype();
  ndim_ = sizes.size();
  itemsize_ = dtype_.itemsize();
  std::int64_t last = 0;  // within the storage, so this does not overflow
  for (std::size_t d = 0; d < ndim_; ++d) {
    sizes_[d] = sizes[d];
    strides_[d] = impl.strides()[d];
    last += (sizes_[d] - 1) * strides_[d];
  }
  reach_ = (static_cast<std::size_t>(last) + 1) * itemsize_;
}

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
  view.element = {tensor.scalar_type(), ElementKind::kNumber, itemsize};
  view.source_kind = SourceKind::kArray;
  return view;
}

}  // namespace tensorlift
