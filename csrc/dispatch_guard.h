// DispatchGuard: calls into torch that neither a mode nor a transformation gets to see, nor
// autograd: they are part of how a tensor is made, not something that was done with one.
#pragma once

#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace tensorlift {

class DispatchGuard {
 private:
  const c10::impl::ExcludeDispatchKeyGuard no_modes_{
      c10::DispatchKeySet({c10::DispatchKey::Python, c10::DispatchKey::PythonTLSSnapshot,
                           c10::DispatchKey::PythonDispatcher, c10::DispatchKey::Functionalize,
                           c10::DispatchKey::FuncTorchDynamicLayerFrontMode,
                           c10::DispatchKey::FuncTorchDynamicLayerBackMode})};
  const at::AutoDispatchBelowADInplaceOrView no_autograd_;
};

}  // namespace tensorlift
