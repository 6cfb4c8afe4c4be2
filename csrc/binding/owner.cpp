#include "binding/owner.h"

#include "binding/gil.h"

namespace tensorlift {
namespace {

bool interpreter_is_finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing();
#else
  return _Py_IsFinalizing();
#endif
}

// Runs wherever the last reference to a storage is dropped. While the interpreter finalizes, taking
// the GIL would end or hang the thread, and other objects may be gone: the array is leaked to the
// process's end, which is near.
void release(void* object) noexcept {
  if (!Py_IsInitialized() || interpreter_is_finalizing()) return;
  // All of it inside: releasing the array may run Python code, which may lose the GIL and never
  // get it back.
  with_python_or_sleep([object] {
    const PyGILState_STATE state = PyGILState_Ensure();
    Py_DECREF(static_cast<PyObject*>(object));
    PyGILState_Release(state);
  });
}

}  // namespace

c10::DataPtr own(PyObject* object, void* data) {
  return {data, object, &release, c10::Device(c10::DeviceType::CPU)};
}

}  // namespace tensorlift
