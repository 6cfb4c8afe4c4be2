#include "input/inspect.h"

#include "input/numpy_scalar.h"

namespace tensorlift {
namespace {

// Is this a MaskedArray with a masked element? An array that merely could have a mask is as good
// as any other. numpy.ma, where the class lives, is imported only by whoever made such an array.
bool has_masked_values(PyObject* array) {
  const auto module = py::reinterpret_borrow<py::object>(
      PyDict_GetItemString(PyImport_GetModuleDict(), "numpy.ma"));
  if (!module || !py::hasattr(module, "is_masked")) return false;  // not imported, or not yet
  const int is_instance = PyObject_IsInstance(array, module.attr("MaskedArray").ptr());
  if (is_instance < 0) throw py::error_already_set();
  return is_instance != 0 && module.attr("is_masked")(py::handle(array)).cast<bool>();
}

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

ArrayView inspect(PyObject* item, py::object* keep_alive) {
  if (PyArray_CheckExact(item)) return inspect_exact(item);
  if (PyArray_Check(item)) {
    // The mask first: asking for it runs Python code, after which a view would be stale.
    const auto* descr = PyArray_DESCR(reinterpret_cast<PyArrayObject*>(item));
    const bool masked =
        element_type(descr).kind != ElementKind::kUnsupported && has_masked_values(item);
    ArrayView view = inspect_exact(item);
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
    ArrayView view = inspect_exact(keep_alive->ptr());
    view.source_kind = SourceKind::kScalar;
    return view;
  }
  return {};
}

}  // namespace tensorlift
