// torch's Python objects ↔ their C++ halves. torch_objects.cpp alone includes torch's own headers
// for them, which take 7 s to compile.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/MemoryFormat.h>
#include <c10/core/ScalarType.h>
#include <c10/core/Storage.h>
#include <c10/core/Stream.h>

#include <exception>
#include <optional>

#include "binding/python_api.h"

namespace tensorlift {

// A torch.Tensor, a Parameter or an object of another subclass. GIL held, here and below.
[[nodiscard]] bool is_tensor(py::handle object);
// torch.Tensor itself.
[[nodiscard]] PyTypeObject* tensor_type();
// Exactly a torch.Tensor, no subclass.
[[nodiscard]] bool is_exact_tensor(py::handle object);
// Of a subclass that wants to be asked what torch's functions do with it.
[[nodiscard]] bool overrides_torch(py::handle tensor);
// `object` is one. The reference lives as long as the object.
[[nodiscard]] const at::Tensor& unpack_tensor(py::handle object);
// The Python object of a tensor, made where there is none yet. Throws py::error_already_set.
[[nodiscard]] py::object wrap_tensor(at::Tensor tensor);

// std::nullopt: it is no such object.
[[nodiscard]] std::optional<c10::ScalarType> unpack_dtype(py::handle dtype);
[[nodiscard]] std::optional<c10::MemoryFormat> unpack_memory_format(py::handle format);
[[nodiscard]] std::optional<c10::Device> unpack_device(py::handle device);
[[nodiscard]] std::optional<c10::Stream> unpack_stream(py::handle stream);

// The torch.dtype, borrowed: torch keeps them.
[[nodiscard]] py::object dtype_object(c10::ScalarType dtype);
[[nodiscard]] py::object device_object(c10::Device device);
// torch.device(name): throws py::error_already_set where torch does not know it.
[[nodiscard]] c10::Device device_named(py::handle name);

// Sets Python's error for an exception of torch's.
void set_torch_error(std::exception_ptr exception);

// torch.UntypedStorage._new_shared(nbytes): a new file in torch's shared memory.
[[nodiscard]] c10::Storage new_shared_storage(std::size_t nbytes);

// Does a device of this type start when it is first used? Starts it. Throws py::error_already_set
// or c10::Error where it cannot.
void start_device(c10::DeviceType type);
// Is this the forked child of a process that used a device of this type?
[[nodiscard]] bool is_lost_by_fork(c10::DeviceType type);
// Is the current stream of CUDA being captured, as Python's torch knows it?
[[nodiscard]] bool is_cuda_capturing();

}  // namespace tensorlift
