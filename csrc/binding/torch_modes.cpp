#include "binding/torch_modes.h"

#include <ATen/PythonTorchFunctionTLS.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/core/impl/TorchDispatchModeTLS.h>

#include "binding/python_api.h"

namespace tensorlift {

bool is_torch_asked() {
  if (c10::impl::TorchDispatchModeTLS::any_modes_set()) return true;
  const auto included = c10::impl::tls_local_dispatch_key_set().included_;
  if (included.has(c10::DispatchKey::FuncTorchDynamicLayerFrontMode)) return true;
  if (at::impl::PythonTorchFunctionTLS::stack_len() == 0) return false;
  const py::object internals = import_module("tensorlift._torch_internals");
  return !internals.attr("tensors_are_plain")().cast<bool>();
}

}  // namespace tensorlift
