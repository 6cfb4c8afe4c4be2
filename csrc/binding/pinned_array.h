// NumPy arrays on pinned memory. GIL held.
#pragma once

#include "binding/python_api.h"

namespace tensorlift {

// A writeable, contiguous, uninitialised array. Throws TypeError or ValueError that names the
// option; see make_pinned() for the rest.
[[nodiscard]] py::object empty_pinned(py::handle shape, py::handle dtype);

}  // namespace tensorlift
