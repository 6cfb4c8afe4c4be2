#include "binding/conversion_error.h"

#include "binding/torch_objects.h"
#include "errors.h"
#include "input/inspect.h"
#include "text.h"

namespace tensorlift {
namespace {

std::string text(py::handle object) { return py::str(object).cast<std::string>(); }

std::string dtype_name(PyObject* item) { return text(dtype_of(item)); }

std::string of_shape(const Shape& shape) { return " of shape " + shape_text(shape); }

std::string not_an_array(PyObject* item) {
  const std::string got =
      std::string("expected numpy.ndarray, got ") + Py_TYPE(item)->tp_name + ". ";
  if (is_tensor(item)) return got + "It is a tensor already: leave it out of the list.";
  if (item == Py_None) return got + "Leave it out of the list.";
  if (PyBytes_Check(item)) {
    return got + "Load the file with numpy.load(), or use numpy.frombuffer(bytes, dtype), first.";
  }
  if (PyUnicode_Check(item) || PyObject_HasAttrString(item, "__fspath__")) {
    return got + "Load the file with numpy.load(), or turn text into numbers, first.";
  }
  if (PyObject_HasAttrString(item, "toarray")) return got + "Use its toarray().";
  if (PyObject_HasAttrString(item, "to_numpy")) return got + "Use its to_numpy().";
  const bool is_of_numbers = PyList_Check(item) || PyTuple_Check(item) || PyNumber_Check(item) != 0;
  if (is_of_numbers) return got + "Convert it with numpy.asarray() first.";
  return got + "Pass an array, or an object with the buffer protocol, DLPack or __array__.";
}

// What to do about a dtype that torch has no counterpart for.
std::string dtype_remedy(PyObject* item) {
  const py::object dtype = dtype_of(item);
  const py::object fields = dtype.attr("names");
  if (!fields.is_none()) {
    const auto names = py::list(fields);
    const std::string first = names.empty() ? "'name'" : text(py::repr(names[0]));
    return "Convert its fields one by one, for instance array[" + first + "].";
  }
  const std::string kind = text(dtype.attr("kind"));
  if (kind == "O") {
    return "Pass list(array) where its elements are arrays, or array.astype(numpy.float32) where "
           "they are numbers.";
  }
  if (kind == "U" || kind == "S" || kind == "T") {
    return "Turn text into numbers first, for instance token ids, or array.astype(numpy.float32) "
           "where it spells numbers.";
  }
  if (kind == "f") return "Use array.astype(numpy.float64).";
  if (kind == "c") return "Use array.astype(numpy.complex128).";
  const std::string name = text(dtype);
  if (name.find("int") != std::string::npos) return "Use array.astype(numpy.int8).";
  if (name.find("float") != std::string::npos) return "Use array.astype(numpy.float32).";
  if (name == "|V1" || name == "|V2") {  // what numpy.load makes of the dtypes of ml_dtypes
    const std::string like = name == "|V1" ? "float8_e4m3fn" : "bfloat16";
    return "Files of NumPy do not keep the dtypes of ml_dtypes: use array.view() with the one it "
           "had, for instance array.view(ml_dtypes." +
           like + ").";
  }
  return "Use array.view() or array.astype() with a dtype of numbers.";
}

std::string refused_copy(PyObject* item, const Shape& shape, const Plan& plan) {
  std::string why = reason_text(plan.reason);
  if (plan.reason == Reason::kCast) {
    why = "cast from " + dtype_name(item) + " to " + text(dtype_object(plan.dtype));
  }
  return "expected an array that can be shared, because of copy=False, got one" + of_shape(shape) +
         " that needs a copy: " + why + ". Pass copy=None to allow it.";
}

std::string reject_text(PyObject* item, const Shape& shape, const Plan& plan) {
  if (plan.copy_refused) return refused_copy(item, shape, plan);
  const auto got_dtype = [&] { return "got " + dtype_name(item) + of_shape(shape) + ". "; };
  switch (plan.reason) {
    case Reason::kNotAnArray:
      return not_an_array(item);
    case Reason::kUnsupportedDtype:
      return "expected a dtype with a torch counterpart, " + got_dtype() + dtype_remedy(item);
    case Reason::kDatetime:
      return "expected a dtype with a torch counterpart, " + got_dtype() +
             "Pass dtype=torch.int64 to get the counts of its unit (NaT is the smallest int64).";
    case Reason::kMasked:
      return "expected an array without masked values, got a MaskedArray" + of_shape(shape) +
             " that has some. Use array.filled(value), or array.data to ignore the mask.";
    case Reason::kReadonlyRefused:
      return "expected a writeable array, because of readonly=\"error\", got a read-only one" +
             of_shape(shape) + ". Pass readonly=\"copy\", or copy the array.";
    case Reason::kStrideOverflow:
      return "expected strides within 64 bits, got an array" + of_shape(shape) +
             " that reaches farther. Copy the part that you need.";
    default:
      throw InternalError("conversion_message: this reason rejects nothing");
  }
}

}  // namespace

bool is_type_error(const Plan& plan) {
  if (plan.copy_refused) return false;
  return plan.reason != Reason::kReadonlyRefused && plan.reason != Reason::kStrideOverflow;
}

std::string conversion_message(std::size_t index, PyObject* item, const Shape& shape,
                               const Plan& plan) {
  return "arrays[" + std::to_string(index) + "]: " + reject_text(item, shape, plan);
}

void throw_conversion_error(std::size_t index, PyObject* item, const Shape& shape,
                            const Plan& plan) {
  const std::string message = conversion_message(index, item, shape, plan);
  if (is_type_error(plan)) throw TypeError(message);
  throw ValueError(message);
}

}  // namespace tensorlift
