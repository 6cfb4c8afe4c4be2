// Inspect: PyObject → ArrayView. The only file that reads NumPy's structures.
#pragma once

#include "binding/python_api.h"
#include "input/numpy_dtype.h"
#include "plan/array_view.h"

namespace tensorlift {

// Where the shape and strides of an array are copied to by a Python without a GIL, which would keep
// others from changing them. Nothing where there is one.
struct HeaderCopy {
#ifdef Py_GIL_DISABLED
  std::int64_t shape[kMaxDims];
  std::int64_t strides[kMaxDims];
#endif
};

// Reads one item of the list. Runs no Python code for a numpy.ndarray of any subclass but
// numpy.ma.MaskedArray (whose mask is asked for), and none for anything that is no array.
//
// A NumPy scalar of a type that is not NumPy's own is read into a fresh 0-d array, which
// `*keep_alive` then owns; both, and `copy`, must live as long as the view is used. GIL held.
// Throws py::error_already_set where Python code raised.
[[nodiscard]] ArrayView inspect(PyObject* item, py::object* keep_alive, HeaderCopy& copy);

#ifdef Py_GIL_DISABLED

// The same for what is exactly a numpy.ndarray, no subclass. Other threads may give the array
// another shape, strides or dtype meanwhile, for which NumPy has no lock: what was read is true of
// one moment, or it is read again. Throws RuntimeError where that never ends.
[[nodiscard]] ArrayView inspect_exact(PyObject* item, HeaderCopy& copy);

#else

// The same for what is exactly a numpy.ndarray, no subclass. Runs Python code at most for a dtype
// that was never seen before.
[[nodiscard]] inline ArrayView inspect_exact(PyObject* item, HeaderCopy&) {
  static_assert(sizeof(npy_intp) == sizeof(std::int64_t), "tensorlift needs a 64-bit platform");
  auto* array = reinterpret_cast<PyArrayObject*>(item);
  ArrayView view;
  view.element = element_type(PyArray_DESCR(array));  // first: may run Python code
  view.data = PyArray_DATA(array);
  view.shape = reinterpret_cast<const std::int64_t*>(PyArray_DIMS(array));
  view.strides = reinterpret_cast<const std::int64_t*>(PyArray_STRIDES(array));
  view.ndim = PyArray_NDIM(array);
  view.source_kind = SourceKind::kArray;
  view.swapped = PyArray_ISBYTESWAPPED(array);
  view.writeable = PyArray_ISWRITEABLE(array);
  return view;
}

#endif

// The dtype of an item that inspect() found to be an array or a scalar. Asks NumPy, not the item,
// whose class may give any answer. GIL held.
[[nodiscard]] py::object dtype_of(PyObject* item);

}  // namespace tensorlift
