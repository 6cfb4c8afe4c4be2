// UntrackedList: the list of tensors, or arrays, that a call returns, while it is being filled.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <utility>

#include "binding/python_api.h"
#include "binding/torch_objects.h"

namespace tensorlift {

// A list with `size` empty places, which the garbage collector does not track until it is full.
class UntrackedList {
 public:
  explicit UntrackedList(std::size_t size)
      : list_(py::reinterpret_steal<py::list>(PyList_New(static_cast<Py_ssize_t>(size)))) {
    if (!list_) throw py::error_already_set();
    PyObject_GC_UnTrack(list_.ptr());
  }
  ~UntrackedList() {
    if (!PyGILState_Check()) list_.release();  // a forced unwind at interpreter exit (see gil.h)
  }
  void set(std::size_t index, at::Tensor&& tensor) { set(index, wrap_tensor(std::move(tensor))); }
  void set(std::size_t index, py::object item) {
    PyList_SET_ITEM(list_.ptr(), static_cast<Py_ssize_t>(index), item.release().ptr());
  }
  py::list track() && {
    PyObject_GC_Track(list_.ptr());
    return std::move(list_);
  }

 private:
  py::list list_;
};

}  // namespace tensorlift
