// What a Python without a GIL needs to have locked; nothing where the GIL does it.
#pragma once

#include <cstddef>

#include "binding/python_api.h"

namespace tensorlift {

#ifdef Py_GIL_DISABLED

// Keeps other threads from changing a list or a dict, as long as it lives and the thread neither
// waits nor runs Python code: then Python takes the lock away for that time. No thread holds one
// while the process forks.
class ObjectLock {
 public:
  explicit ObjectLock(PyObject* object) { PyCriticalSection_Begin(&section_, object); }
  ~ObjectLock() { PyCriticalSection_End(&section_); }
  ObjectLock(const ObjectLock&) = delete;
  ObjectLock& operator=(const ObjectLock&) = delete;

 private:
  PyCriticalSection section_;
};

// Guards state of ours that the GIL guards elsewhere; for std::lock_guard. Nothing of Python's but
// new references while it is locked.
class StateMutex {
 public:
  void lock() { PyMutex_Lock(&mutex_); }
  void unlock() { PyMutex_Unlock(&mutex_); }

 private:
  PyMutex mutex_{};
};

// An item of what is exactly a list or a tuple, as long as this lives; null where the list has
// become that short.
class HeldItem {
 public:
  HeldItem(PyObject* sequence, Py_ssize_t index) : item_(new_reference(sequence, index)) {}
  [[nodiscard]] PyObject* get() const { return item_.ptr(); }

 private:
  static py::object new_reference(PyObject* sequence, Py_ssize_t index) {
    if (PyTuple_CheckExact(sequence)) {
      return py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(sequence, index));
    }
    PyObject* item = PyList_GetItemRef(sequence, index);
    if (item == nullptr) PyErr_Clear();
    return py::reinterpret_steal<py::object>(item);
  }

  py::object item_;
};

#else

class ObjectLock {
 public:
  explicit ObjectLock(PyObject*) {}
  ~ObjectLock() {}  // not trivial, so that nobody finds it unused
};

class StateMutex {
 public:
  void lock() {}
  void unlock() {}
};

class HeldItem {
 public:
  HeldItem(PyObject* sequence, Py_ssize_t index)
      : item_(PySequence_Fast_GET_ITEM(sequence, index)) {}
  [[nodiscard]] PyObject* get() const { return item_; }

 private:
  PyObject* item_;
};

#endif

}  // namespace tensorlift
