#include "conduct.h"

namespace tensorlift {

void warn(const std::string& message) {
  // Level 2: the caller of the Python function that called us.
  if (PyErr_WarnEx(PyExc_UserWarning, message.c_str(), 2) < 0) throw py::error_already_set();
}

void warn_discarded_imaginary() {
  warn("Casting complex values to real discards the imaginary part");
}

}  // namespace tensorlift
