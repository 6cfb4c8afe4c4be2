#include "input/inspect.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "errors.h"
#include "input/numpy_scalar.h"

namespace tensorlift {
namespace {

// Is this a MaskedArray with a masked element? An array that merely could have a mask is as good
// as any other. numpy.ma, where the class lives, is imported only by whoever made such an array.
bool has_masked_values(PyObject* array) {
  const auto module =
      py::reinterpret_steal<py::object>(PyImport_GetModule(py::str("numpy.ma").ptr()));
  if (!module && PyErr_Occurred() != nullptr) throw py::error_already_set();
  if (!module || !py::hasattr(module, "is_masked")) return false;  // not imported, or not yet
  const int is_instance = PyObject_IsInstance(array, module.attr("MaskedArray").ptr());
  if (is_instance < 0) throw py::error_already_set();
  return is_instance != 0 && module.attr("is_masked")(py::handle(array)).cast<bool>();
}

#ifdef Py_GIL_DISABLED

constexpr int kMostTries = 10'000;

// The fields of an array that its attributes change.
struct Header {
  PyArray_Descr* descr;
  void* data;
  const npy_intp* shape;
  const npy_intp* strides;
  int ndim;
  int flags;

  [[nodiscard]] bool operator==(const Header&) const = default;

  // NumPy lays strides behind the shape: where they are not, one of the three is the next ones.
  [[nodiscard]] bool is_whole() const {
    return ndim == 0 ||
           (ndim > 0 && ndim <= kMaxDims && shape != nullptr && shape + ndim == strides);
  }
};

Header header_of(const PyArrayObject* array) {
  std::atomic_thread_fence(std::memory_order_acquire);
  const Header header{PyArray_DESCR(array),   PyArray_DATA(array), PyArray_DIMS(array),
                      PyArray_STRIDES(array), PyArray_NDIM(array), PyArray_FLAGS(array)};
  std::atomic_thread_fence(std::memory_order_acquire);
  return header;
}

// False where the parts contradict each other: they are of different moments.
bool read_once(const Header& header, HeaderCopy& copy, ArrayView& view) {
  const PyArray_Descr* descr = header.descr;
  view.element = element_type(descr);  // first: may run Python code
  std::copy(header.shape, header.shape + header.ndim, copy.shape);
  std::copy(header.strides, header.strides + header.ndim, copy.strides);
  view.data = header.data;
  view.shape = copy.shape;
  view.strides = copy.strides;
  view.ndim = header.ndim;
  view.source_kind = SourceKind::kArray;
  view.swapped = PyDataType_ISBYTESWAPPED(descr);
  view.writeable = (header.flags & NPY_ARRAY_WRITEABLE) != 0;
  const bool is_empty = std::find(copy.shape, copy.shape + view.ndim, 0) != copy.shape + view.ndim;
  return is_empty || (header.flags & NPY_ARRAY_C_CONTIGUOUS) == 0 ||
         is_contiguous(view.ndim, copy.shape, copy.strides, PyDataType_ELSIZE(descr));
}

bool is_still(const PyArrayObject* array, const Header& before, const HeaderCopy& copy) {
  return header_of(array) == before &&
         std::equal(before.shape, before.shape + before.ndim, copy.shape) &&
         std::equal(before.strides, before.strides + before.ndim, copy.strides);
}

#endif

}  // namespace

py::object dtype_of(PyObject* item) {
  if (PyArray_Check(item)) {
    auto* descr = PyArray_DESCR(reinterpret_cast<PyArrayObject*>(item));
    return py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(descr));
  }
  auto* descr = reinterpret_cast<PyObject*>(PyArray_DescrFromScalar(item));
  if (descr == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(descr);
}

#ifdef Py_GIL_DISABLED

ArrayView inspect_exact(PyObject* item, HeaderCopy& copy) {
  const auto* array = reinterpret_cast<PyArrayObject*>(item);
  ArrayView view;
  for (int tries = 0; tries < kMostTries; ++tries) {
    const Header before = header_of(array);
    if (before.is_whole() && read_once(before, copy, view) && is_still(array, before, copy)) {
      return view;
    }
    std::this_thread::yield();
  }
  throw RuntimeError(
      "arrays: expected arrays that no other thread changes meanwhile, got one whose shape, "
      "strides "
      "or dtype kept changing. Give each thread a view of its own: array.view().");
}

#endif

ArrayView inspect(PyObject* item, py::object* keep_alive, HeaderCopy& copy) {
  if (PyArray_CheckExact(item)) return inspect_exact(item, copy);
  if (PyArray_Check(item)) {
    // The mask first: asking for it runs Python code, after which a view would be stale.
    const auto* descr = PyArray_DESCR(reinterpret_cast<PyArrayObject*>(item));
    const bool masked =
        element_type(descr).kind != ElementKind::kUnsupported && has_masked_values(item);
    ArrayView view = inspect_exact(item, copy);
    if (masked) view.source_kind = SourceKind::kMaskedArray;
    return view;
  }
  if (const ScalarType* known = scalar_type_of(item)) {  // without an array in between
    ArrayView view;
    view.data = known->value_of(item);
    view.element = known->element;
    view.source_kind = SourceKind::kScalar;
    return view;
  }
  if (PyArray_IsScalar(item, Generic)) {
    *keep_alive = py::reinterpret_steal<py::object>(PyArray_FromScalar(item, nullptr));
    if (!*keep_alive) throw py::error_already_set();
    ArrayView view = inspect_exact(keep_alive->ptr(), copy);
    view.source_kind = SourceKind::kScalar;
    return view;
  }
  return {};
}

}  // namespace tensorlift
