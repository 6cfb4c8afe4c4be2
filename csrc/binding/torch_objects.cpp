#include "binding/torch_objects.h"

#include <torch/csrc/Device.h>
#include <torch/csrc/Dtype.h>
#include <torch/csrc/DynamicTypes.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/MemoryFormat.h>
#include <torch/csrc/Storage.h>
#include <torch/csrc/Stream.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/device_lazy_init.h>
#include <torch/csrc/utils/tensor_dtypes.h>

#include <utility>

namespace tensorlift {

bool is_tensor(py::handle object) { return THPVariable_Check(object.ptr()); }

PyTypeObject* tensor_type() { return reinterpret_cast<PyTypeObject*>(THPVariableClass); }

bool is_exact_tensor(py::handle object) { return Py_TYPE(object.ptr()) == tensor_type(); }

bool overrides_torch(py::handle tensor) {
  if (is_exact_tensor(tensor)) return false;
  const py::object function = py::type::of(tensor).attr("__torch_function__");
  return !function.is(import_module("tensorlift._torch_internals").attr("disabled_torch_function"));
}

const at::Tensor& unpack_tensor(py::handle object) { return THPVariable_Unpack(object.ptr()); }

py::object wrap_tensor(at::Tensor tensor) {
  PyObject* wrapped = nullptr;
  try {
    wrapped = THPVariable_Wrap(std::move(tensor));
  } catch (const c10::Error&) {  // torch 2.8 gives null
    if (PyErr_Occurred() == nullptr) throw;
  }
  if (wrapped == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(wrapped);
}

std::optional<c10::ScalarType> unpack_dtype(py::handle dtype) {
  if (!THPDtype_Check(dtype.ptr())) return std::nullopt;
  return reinterpret_cast<THPDtype*>(dtype.ptr())->scalar_type;
}

std::optional<c10::MemoryFormat> unpack_memory_format(py::handle format) {
  if (!THPMemoryFormat_Check(format.ptr())) return std::nullopt;
  return reinterpret_cast<THPMemoryFormat*>(format.ptr())->memory_format;
}

std::optional<c10::Device> unpack_device(py::handle device) {
  if (!THPDevice_Check(device.ptr())) return std::nullopt;
  return reinterpret_cast<THPDevice*>(device.ptr())->device;
}

std::optional<c10::Stream> unpack_stream(py::handle stream) {
  if (!THPStream_Check(stream.ptr())) return std::nullopt;
  const auto* fields = reinterpret_cast<THPStream*>(stream.ptr());
  return c10::Stream::unpack3(fields->stream_id,
                              static_cast<c10::DeviceIndex>(fields->device_index),
                              static_cast<c10::DeviceType>(fields->device_type));
}

py::object dtype_object(c10::ScalarType dtype) {
  return py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(torch::getTHPDtype(dtype)));
}

py::object device_object(c10::Device device) {
  return py::reinterpret_steal<py::object>(THPDevice_New(device));
}

c10::Device device_named(py::handle name) {
  const py::handle type(reinterpret_cast<PyObject*>(&THPDeviceType));  // without an import
  const py::object device = type(name);
  return reinterpret_cast<THPDevice*>(device.ptr())->device;
}

void set_torch_error(std::exception_ptr exception) {
  torch::translate_exception_to_python(exception);
}

c10::Storage new_shared_storage(std::size_t nbytes) {
  const py::object storage =
      import_module("tensorlift._torch_internals").attr("new_shared_storage")(nbytes);
  return THPStorage_Unpack(storage.ptr());
}

void start_device(c10::DeviceType type) {
  if (!torch::utils::is_device_lazy_init_supported(type)) return;
  try {
    torch::utils::device_lazy_init(type);
  } catch (python_error& raised) {  // by torch's Python half
    raised.restore();
    throw py::error_already_set();
  }
}

bool is_lost_by_fork(c10::DeviceType type) { return torch::utils::is_device_in_bad_fork(type); }

bool is_cuda_capturing() {
  return import_module("torch").attr("cuda").attr("is_current_stream_capturing")().cast<bool>();
}

}  // namespace tensorlift
