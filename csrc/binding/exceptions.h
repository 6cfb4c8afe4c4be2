// C++ exceptions → Python's.
#pragma once

#include <exception>

namespace tensorlift {

// Sets Python's error. Rethrows what is neither ours, torch's nor pybind11's. GIL held.
void set_python_error(std::exception_ptr exception);

}  // namespace tensorlift
