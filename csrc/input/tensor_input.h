// A tensor among the arrays of a batch, read like an array.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/StorageImpl.h>
#include <c10/core/TensorImpl.h>

#include <cstddef>
#include <cstdint>

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

// May torch's own functions know how to join a tensor that view_of_tensor() refuses: is it of
// another layout, another device, a dtype that is no number, or part of a transformation?
[[nodiscard]] bool is_for_torch(const at::Tensor& tensor);

// The same, without a word of what is wrong: true for the tensors that are most frequent, strided
// and dense ones in the host's memory that no gradient was ever asked of. A few loads, and no call
// of torch.
[[nodiscard]] bool view_of_common_tensor(const at::Tensor& tensor, ArrayView& view,
                                         std::int64_t* strides);

// What tensors that are alike have in common, so that each after the first is checked by comparing.
class TensorSignature {
 public:
  // Of a tensor for which view_of_common_tensor() is true.
  void set(const c10::TensorImpl& impl);
  void clear() { is_set_ = false; }

  // The first element of a tensor that is like it but for its memory, which is large enough;
  // nullptr: it is not like it.
  [[nodiscard]] char* data_if_like(const c10::TensorImpl& impl) const {
    if (!is_set_ || impl.key_set() != keys_ || impl.dtype() != dtype_) return nullptr;
    if (impl.autograd_meta() != nullptr) return nullptr;
    const c10::IntArrayRef sizes = impl.sizes();
    if (sizes.size() != ndim_) return nullptr;
    const c10::IntArrayRef strides = impl.strides();
    bool is_like = true;
    for (std::size_t d = 0; d < ndim_; ++d) {
      is_like &= sizes[d] == sizes_[d] && strides[d] == strides_[d];
    }
    const c10::Storage& storage = impl.unsafe_storage();
    if (!is_like || !storage) return nullptr;
    const auto offset = static_cast<std::size_t>(impl.storage_offset()) * itemsize_;
    if (offset + reach_ > storage.nbytes()) return nullptr;
    auto* data = static_cast<char*>(storage.unsafeGetStorageImpl()->mutable_data());
    return data == nullptr ? nullptr : data + offset;
  }

 private:
  static constexpr std::size_t kMostDims = 8;

  bool is_set_ = false;
  c10::DispatchKeySet keys_;
  caffe2::TypeMeta dtype_;
  std::size_t ndim_ = 0;
  std::size_t itemsize_ = 0;
  std::size_t reach_ = 0;  // bytes from the first element to the end of the last
  std::int64_t sizes_[kMostDims];
  std::int64_t strides_[kMostDims];
};

}  // namespace tensorlift
