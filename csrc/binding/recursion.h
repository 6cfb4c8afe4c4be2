// Nesting without end is Python's RecursionError, not the end of the stack.
#pragma once

#include "binding/python_api.h"

namespace tensorlift {

// One for each level of a recursion. GIL held. Throws py::error_already_set.
class RecursionGuard {
 public:
  explicit RecursionGuard(const char* where) {
    if (Py_EnterRecursiveCall(where) != 0) throw py::error_already_set();
  }
  ~RecursionGuard() { Py_LeaveRecursiveCall(); }
  RecursionGuard(const RecursionGuard&) = delete;
  RecursionGuard& operator=(const RecursionGuard&) = delete;
};

}  // namespace tensorlift
