// Items: the caller's list, held fast. References of our own, taken before anything else happens,
// so that whatever other threads, iterators and finalizers do to the list cannot pull an array
// away.
#pragma once

#include <c10/util/SmallVector.h>

#include <cstddef>

#include "binding/python_api.h"

namespace tensorlift {

// GIL held throughout, also on destruction.
class Items {
 public:
  // Reads any sequence or iterable, once. Refuses with a TypeError what is one array, one tensor,
  // text or a mapping; passes on whatever an iterator raises.
  explicit Items(py::handle arrays);
  ~Items();
  Items(const Items&) = delete;
  Items& operator=(const Items&) = delete;

  [[nodiscard]] std::size_t size() const { return items_.size(); }

  // Borrowed.
  [[nodiscard]] PyObject* operator[](std::size_t index) const { return items_[index]; }

  // Gives the reference to the caller. The item must not be asked for again.
  [[nodiscard]] PyObject* take(std::size_t index) {
    PyObject* item = items_[index];
    items_[index] = nullptr;
    return item;
  }

  // Starts to load the object into the cache: with a long list every header is a cache miss.
  void prefetch(std::size_t index) const {
    if (index < items_.size()) __builtin_prefetch(items_[index]);
  }

 private:
  void hold(PyObject** items, Py_ssize_t count);
  void hold_all_of(py::handle iterable);

  c10::SmallVector<PyObject*, 16> items_;
};

}  // namespace tensorlift
