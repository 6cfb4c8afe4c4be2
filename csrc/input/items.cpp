#include "input/items.h"

#include <string>

#include "binding/free_threading.h"
#include "binding/torch_objects.h"
#include "errors.h"
#include "input/elements.h"
#include "input/foreign_memory.h"

namespace tensorlift {
namespace {

[[noreturn]] void refuse(py::handle arrays, const char* remedy) {
  throw TypeError("arrays: expected a list of numpy.ndarray, got " +
                  std::string(Py_TYPE(arrays.ptr())->tp_name) + ". " + remedy);
}

// What can be iterated over, but surely was not meant to be.
void check_is_a_list(py::handle arrays) {
  PyObject* object = arrays.ptr();
  if (PyArray_Check(object)) refuse(arrays, "Pass [array], or list(array) for its rows.");
  if (is_tensor(object)) refuse(arrays, "It is a tensor already.");
  if (PyUnicode_Check(object) || PyBytes_Check(object)) refuse(arrays, "Pass a list of arrays.");
  if (py::isinstance(arrays, import_module("collections.abc").attr("Mapping"))) {
    refuse(arrays, "Pass list(mapping.values()).");
  }
}

}  // namespace

Items::Items(py::handle arrays) {
  if (is_list(arrays.ptr())) {
    const ObjectLock lock(arrays.ptr());
    hold(elements_of(arrays.ptr()));
  } else {
    check_is_a_list(arrays);
    hold_all_of(arrays);
  }
}

Items::~Items() {
  if (!PyGILState_Check()) return;  // a forced unwind at interpreter exit: leak (see gil.h)
  for (PyObject* item : own_) Py_XDECREF(item);
}

Items::Items(Items&& other) noexcept
    : own_(std::move(other.own_)), size_(other.size_), items_(other.items_) {
  if (!own_.empty()) items_ = own_.data();  // a short list lies in the object itself
  other.own_.clear();
  other.size_ = 0;
}

void Items::read_foreign(std::size_t index) {
  if (!has_foreign_memory(items_[index])) return;
  if (own_.empty()) {  // until now the caller holds them
    own_.assign(items_, items_ + size_);
    for (PyObject* item : own_) Py_INCREF(item);
    items_ = own_.data();
  }
  try {
    py::object array = array_over(own_[index]);
    const auto replaced = py::reinterpret_steal<py::object>(own_[index]);
    own_[index] = array.release().ptr();
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_Exception)) throw;
    throw TypeError("arrays[" + std::to_string(index) + "]: expected an array, got " +
                    Py_TYPE(own_[index])->tp_name + " whose memory cannot be read (" +
                    py::str(error.value()).cast<std::string>() + ").");
  }
}

void Items::hold(c10::ArrayRef<PyObject*> items) {
  own_.assign(items.begin(), items.end());  // may throw, and then nothing is held yet
  for (PyObject* item : own_) Py_INCREF(item);
  size_ = own_.size();
  items_ = own_.data();
}

void Items::hold_all_of(py::handle iterable) {
  const auto iterator = py::reinterpret_steal<py::object>(PyObject_GetIter(iterable.ptr()));
  if (!iterator) {
    const bool raised_by_the_object = Py_TYPE(iterable.ptr())->tp_iter != nullptr;
    if (raised_by_the_object) throw py::error_already_set();
    PyErr_Clear();
    refuse(iterable, "Pass a list of arrays.");
  }
  const auto list = py::reinterpret_steal<py::object>(PySequence_List(iterator.ptr()));
  if (!list) throw py::error_already_set();
  hold(elements_of(list.ptr()));
}

}  // namespace tensorlift
