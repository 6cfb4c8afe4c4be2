// DeviceView: a device tensor as the device's own hardware knows it: an address and a layout.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <cstdint>
#include <vector>

#include "device_memory.h"

namespace fake {

// Keeps nothing alive, so that memory freed too early is read as what it is by then.
class DeviceView {
 public:
  explicit DeviceView(const at::Tensor& tensor)
      : address_(device_view(tensor.const_data_ptr())),
        shape_(tensor.sizes().vec()),
        strides_(tensor.strides().vec()),
        dtype_(tensor.scalar_type()),
        is_conj_(tensor.is_conj()),
        is_neg_(tensor.is_neg()) {}

  [[nodiscard]] at::Tensor on_host() const;

 private:
  char* address_;
  std::vector<std::int64_t> shape_;
  std::vector<std::int64_t> strides_;
  at::ScalarType dtype_;
  bool is_conj_;  // the values are to be conjugated when they are read
  bool is_neg_;   // ... negated
};

// An operation runs on whatever thread waits for it, whose modes are none of the device's business.
template <typename Operation>
void run_plainly(Operation operation) {
  const c10::impl::ExcludeDispatchKeyGuard plain(
      c10::autograd_dispatch_keyset | c10::DispatchKeySet(c10::DispatchKey::ADInplaceOrView) |
      c10::DispatchKeySet({c10::DispatchKey::Python, c10::DispatchKey::PythonTLSSnapshot}));
  operation();
}

}  // namespace fake
