#include "input/foreign_memory.h"

#include <cstring>

#include "binding/torch_objects.h"

namespace tensorlift {
namespace {

constexpr int kDlpackCpu = 1;  // kDLCPU of dlpack.h

bool type_has(PyObject* item, const char* name) {
  auto* type = reinterpret_cast<PyObject*>(Py_TYPE(item));
  return PyObject_HasAttrString(type, name) != 0;
}

// What a buffer's format means, as far as it is one number: by its letter and its size, which
// differs between native and standard formats. NPY_NOTYPE: NumPy is to read it.
int number_of(char letter, Py_ssize_t itemsize) {
  const auto of_size = [itemsize](int one, int two, int four, int eight) {
    return itemsize == 1   ? one
           : itemsize == 2 ? two
           : itemsize == 4 ? four
           : itemsize == 8 ? eight
                           : NPY_NOTYPE;
  };
  if (letter == '?') return itemsize == 1 ? NPY_BOOL : NPY_NOTYPE;
  if (std::strchr("bhilqn", letter) != nullptr) {
    return of_size(NPY_INT8, NPY_INT16, NPY_INT32, NPY_INT64);
  }
  if (std::strchr("BHILQN", letter) != nullptr) {
    return of_size(NPY_UINT8, NPY_UINT16, NPY_UINT32, NPY_UINT64);
  }
  if (std::strchr("efd", letter) != nullptr) {
    return of_size(NPY_NOTYPE, NPY_FLOAT16, NPY_FLOAT32, NPY_FLOAT64);
  }
  return NPY_NOTYPE;
}

// In native byte order.
int number_of(const Py_buffer& buffer) {
  const char* format = buffer.format == nullptr ? "B" : buffer.format;
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  return format[0] == '\0' || format[1] != '\0' ? NPY_NOTYPE
                                                : number_of(format[0], buffer.itemsize);
}

// Without NumPy's parser of formats, which takes longer than all the rest.
py::object array_over_buffer(PyObject* item) {
  auto view = py::reinterpret_steal<py::object>(PyMemoryView_FromObject(item));
  if (!view) throw py::error_already_set();
  const Py_buffer& buffer = *PyMemoryView_GET_BUFFER(view.ptr());
  const int number = number_of(buffer);
  if (number == NPY_NOTYPE || buffer.suboffsets != nullptr) {
    auto array = py::reinterpret_steal<py::object>(
        PyArray_FromAny(view.ptr(), nullptr, 0, 0, NPY_ARRAY_ENSUREARRAY, nullptr));
    if (!array) throw py::error_already_set();
    return array;
  }
  static_assert(sizeof(npy_intp) == sizeof(Py_ssize_t));
  auto array = py::reinterpret_steal<py::object>(PyArray_NewFromDescr(
      &PyArray_Type, PyArray_DescrFromType(number), buffer.ndim,
      reinterpret_cast<npy_intp*>(buffer.shape), reinterpret_cast<npy_intp*>(buffer.strides),
      buffer.buf, buffer.readonly != 0 ? 0 : NPY_ARRAY_WRITEABLE, nullptr));
  if (!array) throw py::error_already_set();
  auto* target = reinterpret_cast<PyArrayObject*>(array.ptr());
  if (PyArray_SetBaseObject(target, view.release().ptr()) != 0) throw py::error_already_set();
  return array;
}

// Null where it is on another device, or NumPy cannot take it.
py::object array_by_dlpack(PyObject* item) {
  try {
    const py::handle object(item);
    const py::tuple device = object.attr("__dlpack_device__")();
    if (device[0].cast<int>() != kDlpackCpu) return {};
    return import_module("numpy").attr("from_dlpack")(object);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_Exception)) throw;  // KeyboardInterrupt
    return {};
  }
}

bool has_numpys_protocols(PyObject* item) {
  return type_has(item, "__array_interface__") || type_has(item, "__array_struct__") ||
         type_has(item, "__array__");
}

}  // namespace

bool has_foreign_memory(PyObject* item) {
  if (PyArray_Check(item) || PyArray_IsScalar(item, Generic) || PyUnicode_Check(item) ||
      PyBytes_Check(item) || PyList_Check(item) || PyTuple_Check(item)) {
    return false;
  }
  if (PyObject_CheckBuffer(item) != 0) return true;  // first: it is quick, and tensors have none
  return !is_tensor(item) && (type_has(item, "__dlpack__") || has_numpys_protocols(item));
}

py::object array_over(PyObject* item) {
  if (PyObject_CheckBuffer(item) != 0) return array_over_buffer(item);
  if (type_has(item, "__dlpack__")) {
    if (py::object array = array_by_dlpack(item)) return array;
  }
  if (!has_numpys_protocols(item)) {
    PyErr_SetString(PyExc_BufferError, "it is on another device, or NumPy cannot share it");
    throw py::error_already_set();
  }
  auto array = py::reinterpret_steal<py::object>(
      PyArray_FromAny(item, nullptr, 0, 0, NPY_ARRAY_ENSUREARRAY, nullptr));
  if (!array) throw py::error_already_set();
  return array;
}

}  // namespace tensorlift
