#include "ops/to_numpy.h"

#include <string>
#include <utility>

#include "binding/options.h"
#include "binding/torch_objects.h"
#include "binding/untracked_list.h"
#include "errors.h"
#include "input/items.h"
#include "input/numpy_dtype.h"
#include "memory/host_memory.h"
#include "text.h"

namespace tensorlift {
namespace {

std::string place(std::size_t index) { return "tensors[" + std::to_string(index) + "]: expected "; }

// Throws where Tensor.numpy() does.
void check(std::size_t index, const at::Tensor& tensor) {
  if (tensor.requires_grad()) {
    throw RuntimeError(place(index) +
                       "a tensor that needs no gradient, got one that requires grad. "
                       "Use tensor.detach().");
  }
  if (tensor.is_conj() || tensor.is_neg() || tensor._is_zerotensor()) {
    throw RuntimeError(place(index) +
                       "a tensor without pending conjugation or negation, got one with it. Use "
                       "tensor.resolve_conj().resolve_neg().");
  }
  if (!has_plain_memory(tensor)) {
    throw TypeError(place(index) +
                    "a strided tensor with memory of its own, got one without (sparse, nested, "
                    "fake, transformed, or its storage was freed). Use tensor.to_dense().");
  }
}

py::object dtype_for(std::size_t index, c10::ScalarType type) {
  py::object dtype = numpy_dtype_of(type);
  if (!dtype) {
    throw TypeError(place(index) + "a dtype that NumPy has as well, got " + dtype_text(type) +
                    ". Install ml_dtypes, which has bfloat16 and float8, or use tensor.float().");
  }
  return dtype;
}

// An array over the tensor's memory, which it keeps alive.
py::object array_over(PyObject* owner, const at::Tensor& tensor, py::object dtype) {
  npy_intp sizes[kMaxDims];
  npy_intp strides[kMaxDims];
  for (std::int64_t d = 0; d < tensor.dim(); ++d) {
    sizes[d] = tensor.size(d);
    strides[d] = byte_stride(tensor, d);
  }
  auto* descr = reinterpret_cast<PyArray_Descr*>(dtype.release().ptr());  // stolen below
  auto array = py::reinterpret_steal<py::object>(PyArray_NewFromDescr(
      &PyArray_Type, descr, static_cast<int>(tensor.dim()), sizes, strides,
      tensor.mutable_data_ptr(), NPY_ARRAY_WRITEABLE | NPY_ARRAY_ALIGNED, nullptr));
  if (!array) throw py::error_already_set();
  auto* made = reinterpret_cast<PyArrayObject*>(array.ptr());
  Py_INCREF(owner);
  if (PyArray_SetBaseObject(made, owner) != 0) throw py::error_already_set();
  PyArray_UpdateFlags(made, NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_F_CONTIGUOUS);
  // As Tensor.numpy(): another size would move the memory away under the array.
  tensor.storage().unsafeGetStorageImpl()->set_resizable(false);
  return array;
}

}  // namespace

py::object to_numpy(py::handle tensors, py::handle copy) {
  if (!copy.is_none()) static_cast<void>(parse_bool("copy", copy));
  const Items items(tensors);
  UntrackedList arrays(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!is_tensor(items[i])) {
      throw TypeError(place(i) + "a torch.Tensor, got " + Py_TYPE(items[i])->tp_name + ".");
    }
    const at::Tensor tensor = unpack_tensor(items[i]);
    if (!tensor.device().is_cpu()) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
    check(i, tensor);
    if (tensor.dim() > kMaxDims) {
      throw ValueError(place(i) + "at most " + std::to_string(kMaxDims) + " dimensions, got " +
                       std::to_string(tensor.dim()) + ".");
    }
    py::object array = array_over(items[i], tensor, dtype_for(i, tensor.scalar_type()));
    if (copy.ptr() == Py_True) {
      array = py::reinterpret_steal<py::object>(
          PyArray_NewCopy(reinterpret_cast<PyArrayObject*>(array.ptr()), NPY_KEEPORDER));
      if (!array) throw py::error_already_set();
    }
    arrays.set(i, std::move(array));
  }
  return std::move(arrays).track();
}

}  // namespace tensorlift
