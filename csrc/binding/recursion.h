// Nesting without end is Python's RecursionError, not the end of the stack.
#pragma once

#include "binding/python_api.h"

namespace tensorlift {

// One for each level of a recursion. GIL held. Throws py::error_already_set.
//
// From Python 3.12 on Py_EnterRecursiveCall() allows 10,000 levels, for which a stack of 8 MiB is
// too small: no more here than Python's own functions may have.
class RecursionGuard {
 public:
  explicit RecursionGuard(const char* where) {
    if (depth_ >= Py_GetRecursionLimit()) {
      PyErr_Format(PyExc_RecursionError, "maximum recursion depth exceeded%s", where);
      throw py::error_already_set();
    }
    if (Py_EnterRecursiveCall(where) != 0) throw py::error_already_set();
    ++depth_;
  }
  ~RecursionGuard() {
    --depth_;
    Py_LeaveRecursiveCall();
  }
  RecursionGuard(const RecursionGuard&) = delete;
  RecursionGuard& operator=(const RecursionGuard&) = delete;

 private:
  static inline thread_local int depth_ = 0;
};

}  // namespace tensorlift
