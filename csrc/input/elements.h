// Elements of what is exactly a list or a tuple, whose layout is known.
#pragma once

#include <c10/util/ArrayRef.h>

#include <cstddef>

#include "binding/python_api.h"

namespace tensorlift {

[[nodiscard]] inline bool is_list(PyObject* object) {
  return PyList_CheckExact(object) || PyTuple_CheckExact(object);
}

// Of an object for which that is true. Borrowed: true for as long as an ObjectLock is held, or
// nobody else has the list. GIL held.
[[nodiscard]] inline c10::ArrayRef<PyObject*> elements_of(PyObject* list) {
  return {PySequence_Fast_ITEMS(list), static_cast<std::size_t>(PySequence_Fast_GET_SIZE(list))};
}

}  // namespace tensorlift
