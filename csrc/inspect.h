// Inspect: PyObject → ArrayView. The only file that reads NumPy's structures.
#pragma once

#include "array_view.h"
#include "python_api.h"

namespace tensorlift {

// Reads one item of the list. Runs no Python code for a numpy.ndarray of any subclass but
// numpy.ma.MaskedArray (whose mask is asked for), and none for anything that is no array.
//
// A NumPy scalar is read into a fresh 0-d array, which `*keep_alive` then owns; it must live as
// long as the view is used. GIL held. Throws py::error_already_set where Python code raised.
[[nodiscard]] ArrayView inspect(PyObject* item, py::object* keep_alive);

// The dtype of an item that inspect() found to be an array or a scalar. Asks NumPy, not the item,
// whose class may give any answer. GIL held.
[[nodiscard]] py::object dtype_of(PyObject* item);

}  // namespace tensorlift
