#include "input/collate_function.h"

#include <mutex>
#include <utility>

#include "binding/made_once.h"
#include "binding/torch_objects.h"
#include "input/foreign_memory.h"

namespace tensorlift {
namespace {

// Types are made at run time, too: so many are remembered.
constexpr std::size_t kMostTypes = 256;

// torch's own functions, by which its default map is known.
struct TorchFunctions {
  TorchFunctions() {
    const py::object collate = import_module("tensorlift._torch_internals").attr("torch_collate");
    const auto function = [&collate](const char* name) {
      return collate.attr(name).cast<py::object>().release().ptr();
    };
    tensor = function("collate_tensor_fn");
    array = function("collate_numpy_array_fn");
    scalar = function("collate_numpy_scalar_fn");
    number_float = function("collate_float_fn");
    number_int = function("collate_int_fn");
    text = function("collate_str_fn");
  }
  PyObject *tensor, *array, *scalar, *number_float, *number_int, *text;
};

const TorchFunctions& torch_functions() { return made_once<TorchFunctions>(); }

// Does isinstance(…, key) follow from a value's type alone?
bool is_plain_key(PyObject* key) {
  if (PyTuple_CheckExact(key)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(key); ++i) {
      if (!is_plain_key(PyTuple_GET_ITEM(key, i))) return false;
    }
    return true;
  }
  if (!PyType_Check(key)) return false;
  if (key == reinterpret_cast<PyObject*>(tensor_type())) return true;
  return PyType_CheckExact(key);  // no metaclass that could have an opinion
}

bool is_instance(PyObject* value, const char* module, const char* name) {
  const int is_one = PyObject_IsInstance(value, import_module(module).attr(name).ptr());
  if (is_one < 0) throw py::error_already_set();
  return is_one != 0;
}

CollateFunction of_kind(Joining joining, py::tuple fields = py::tuple()) {
  return {joining, py::object(), std::move(fields)};
}

// Of a dataclass, a class of attrs or a model of pydantic; else None.
py::object fields_of(py::handle type) {
  return import_module("tensorlift._data.tree").attr("fields_of")(type);
}

// What no function of the map is for.
CollateFunction of_container(PyObject* value, bool& may_be_kept) {
  if (PyDict_CheckExact(value)) return of_kind(Joining::kDict);
  if (PyList_CheckExact(value)) return of_kind(Joining::kList);
  if (PyTuple_CheckExact(value)) return of_kind(Joining::kTuple);
  // Of another package, such as ml_dtypes, or of dates; torch has no function for these.
  const bool is_in_torchs_map = PyArray_IsScalar(value, Number) || PyArray_IsScalar(value, Bool) ||
                                PyArray_IsScalar(value, Object);
  if (PyArray_IsScalar(value, Generic) && !is_in_torchs_map) return of_kind(Joining::kArrays);
  const py::handle type(reinterpret_cast<PyObject*>(Py_TYPE(value)));
  if (py::hasattr(type, "__collate__")) {
    return {Joining::kProtocol, type.attr("__collate__"), py::tuple()};
  }
  if (!is_instance(value, "collections.abc", "Mapping")) {
    if (PyTuple_Check(value) && Py_TYPE(value)->tp_iter == PyTuple_Type.tp_iter &&
        py::hasattr(type, "_fields")) {
      const py::object fields = type.attr("_fields");
      if (PyTuple_CheckExact(fields.ptr())) return of_kind(Joining::kNamedTuple, fields);
    }
    const py::object fields = fields_of(type);
    if (!fields.is_none() && !is_instance(value, "collections.abc", "Sequence")) {
      return of_kind(Joining::kRecord, fields);
    }
  }
  // torch has nothing for them, but for those that count as sequences.
  const bool is_memory = has_foreign_memory(value) &&
                         !is_instance(value, "collections.abc", "Mapping") &&
                         !is_instance(value, "collections.abc", "Sequence");
  may_be_kept = false;  // somebody may register the type as another
  return of_kind(is_memory ? Joining::kArrays : Joining::kOther);
}

}  // namespace

std::shared_ptr<CollateFunctions> CollateFunctions::of(py::handle fn_map) {
  static auto* none =
      new std::shared_ptr<CollateFunctions>(std::make_shared<CollateFunctions>(py::none()));
  if (fn_map.is_none()) return *none;
  static StateMutex mutex;
  static auto* last = new std::shared_ptr<CollateFunctions>();  // guarded by it
  const auto replaced_by = [](std::shared_ptr<CollateFunctions> next) {
    const std::lock_guard lock(mutex);
    last->swap(next);
    return next;
  };
  std::shared_ptr<CollateFunctions> known = [] {
    const std::lock_guard lock(mutex);
    return *last;
  }();
  if (known != nullptr && known->is_of(fn_map)) return known;
  known = std::make_shared<CollateFunctions>(fn_map);
  static_cast<void>(replaced_by(known));  // may run finalizers of the old one's functions
  return known;
}

CollateFunctions::CollateFunctions(py::handle fn_map) {
  if (fn_map.is_none()) return;
  {
    const ObjectLock lock(fn_map.ptr());
    PyObject *key = nullptr, *function = nullptr;
    Py_ssize_t position = 0;
    while (PyDict_Next(fn_map.ptr(), &position, &key, &function) != 0) {
      items_.emplace_back(py::reinterpret_borrow<py::object>(key),
                          py::reinterpret_borrow<py::object>(function));
    }
  }
  for (const auto& [key, function] : items_) {
    has_plain_keys_ &= is_plain_key(key.ptr());
    if (key.ptr() == reinterpret_cast<PyObject*>(tensor_type())) {
      has_torchs_stack_ = function.ptr() == torch_functions().tensor;
    }
  }
}

bool CollateFunctions::is_of(py::handle fn_map) const {
  const ObjectLock lock(fn_map.ptr());
  if (PyDict_GET_SIZE(fn_map.ptr()) != static_cast<Py_ssize_t>(items_.size())) return false;
  PyObject *key = nullptr, *function = nullptr;
  Py_ssize_t position = 0;
  auto item = items_.begin();
  while (PyDict_Next(fn_map.ptr(), &position, &key, &function) != 0) {
    if (item == items_.end() || key != item->first.ptr() || function != item->second.ptr()) {
      return false;
    }
    ++item;
  }
  return true;
}

CollateFunction CollateFunctions::find(PyObject* value) {
  PyTypeObject* type = Py_TYPE(value);
  {
    const std::lock_guard lock(mutex_);
    const auto found = known_.find(type);
    if (found != known_.end()) return found->second.function;
  }
  // Kept from here on: __class__ may be assigned to meanwhile.
  auto held = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(type));
  bool may_be_kept = has_plain_keys_;
  CollateFunction function = look_up(value, may_be_kept);
  if (!may_be_kept || Py_TYPE(value) != type) return function;
  Known fresh{std::move(held), function};  // ends after the lock where another thread was faster
  const std::lock_guard lock(mutex_);
  if (known_.size() < kMostTypes) known_.try_emplace(type, std::move(fresh));
  return function;
}

CollateFunction CollateFunctions::look_up(PyObject* value, bool& may_be_kept) const {
  for (const auto& [key, function] : items_) {
    if (key.ptr() == reinterpret_cast<PyObject*>(Py_TYPE(value))) return with(function);
  }
  for (const auto& [key, function] : items_) {
    const int is_one = PyObject_IsInstance(value, key.ptr());
    if (is_one < 0) throw py::error_already_set();
    if (is_one != 0) return with(function);
  }
  return of_container(value, may_be_kept);
}

CollateFunction CollateFunctions::with(const py::object& function) const {
  const TorchFunctions& torch = torch_functions();
  const auto joining = [&, is = function.ptr()] {
    if (is == torch.tensor) return Joining::kTensors;
    // torch hands arrays, as tensors, to whatever the map has for those.
    if (is == torch.array && has_torchs_stack_) return Joining::kArrays;
    if (is == torch.scalar) return Joining::kScalars;
    if (is == torch.number_float) return Joining::kFloats;
    if (is == torch.number_int) return Joining::kIntegers;
    if (is == torch.text) return Joining::kText;
    return Joining::kFunction;
  };
  return {joining(), function, py::tuple()};
}

}  // namespace tensorlift
