// C++ exceptions → Python's.
#pragma once

#include <exception>

#include "binding/python_api.h"

namespace tensorlift {

// Python's classes for BatchTypeError and BatchValueError; references for ever. GIL held.
struct BatchErrors {
  BatchErrors();
  PyObject *type_error, *value_error;
};
[[nodiscard]] const BatchErrors& batch_errors();

// Sets Python's error. Rethrows what is neither ours, torch's nor pybind11's. GIL held.
void set_python_error(std::exception_ptr exception);

}  // namespace tensorlift
