#include "binding/pinned_array.h"

#include <algorithm>
#include <string>

#include "binding/device_options.h"
#include "binding/gil.h"
#include "binding/options.h"
#include "errors.h"
#include "memory/pinned.h"

namespace tensorlift {
namespace {

constexpr const char* kCapsuleName = "tensorlift.pinned";

struct ArrayShape {
  explicit ArrayShape(py::handle shape) {
    if (PyArray_IntpConverter(shape.ptr(), &dims) != NPY_SUCCEED) {
      clear_refusal();
      throw TypeError("shape: expected an int or a tuple of ints, got " + repr_of(shape) + ".");
    }
  }
  ~ArrayShape() { PyDimMem_FREE(dims.ptr); }
  ArrayShape(const ArrayShape&) = delete;
  ArrayShape& operator=(const ArrayShape&) = delete;

  PyArray_Dims dims{nullptr, 0};
};

// Stolen by whoever makes an array of it.
py::object parse_element_dtype(py::handle dtype) {
  PyArray_Descr* descr = nullptr;
  if (PyArray_DescrConverter(dtype.ptr(), &descr) != NPY_SUCCEED || descr == nullptr) {
    clear_refusal();
    throw TypeError("dtype: expected a NumPy dtype, got " + repr_of(dtype) +
                    ". Pass for instance numpy.float32.");
  }
  auto parsed = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(descr));
  if (PyDataType_REFCHK(descr)) {
    throw TypeError("dtype: expected a dtype of plain numbers, got " + repr_of(parsed) + ".");
  }
  return parsed;
}

std::size_t nbytes_of(const PyArray_Dims& dims, std::int64_t itemsize, py::handle shape) {
  std::int64_t nbytes = itemsize;
  bool is_possible = true;
  for (int d = 0; d < dims.len; ++d) {
    is_possible &= dims.ptr[d] >= 0;
    is_possible &= !__builtin_mul_overflow(nbytes, static_cast<std::int64_t>(dims.ptr[d]), &nbytes);
  }
  if (!is_possible) {
    throw ValueError("shape: expected sizes that are not negative and within 64 bits, got " +
                     repr_of(shape) + ".");
  }
  return static_cast<std::size_t>(nbytes);
}

void release(PyObject* capsule) { release_pinned(PyCapsule_GetPointer(capsule, kCapsuleName)); }

}  // namespace

py::object empty_pinned(py::handle shape, py::handle dtype) {
  const ArrayShape sizes(shape);
  py::object element = parse_element_dtype(dtype);
  auto* descr = reinterpret_cast<PyArray_Descr*>(element.ptr());
  const std::size_t nbytes = nbytes_of(sizes.dims, PyDataType_ELSIZE(descr), shape);
  refuse_forked_child("pinned memory");
  void* block = nullptr;
  {
    const GilRelease release;  // it can take long
    block = hold_new_pinned(std::max<std::size_t>(nbytes, 1));
  }
  const auto capsule =
      py::reinterpret_steal<py::object>(PyCapsule_New(block, kCapsuleName, &release));
  if (!capsule) {
    release_pinned(block);
    throw py::error_already_set();
  }
  element.release();  // the array takes it, also where it fails
  auto array = py::reinterpret_steal<py::object>(
      PyArray_NewFromDescr(&PyArray_Type, descr, sizes.dims.len, sizes.dims.ptr, nullptr, block,
                           NPY_ARRAY_CARRAY, nullptr));
  if (!array) throw py::error_already_set();
  Py_INCREF(capsule.ptr());
  auto* made = reinterpret_cast<PyArrayObject*>(array.ptr());
  if (PyArray_SetBaseObject(made, capsule.ptr()) < 0) throw py::error_already_set();
  return array;
}

}  // namespace tensorlift
