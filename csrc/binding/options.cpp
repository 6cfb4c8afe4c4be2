#include "binding/options.h"

#include <limits>
#include <string>

#include "binding/torch_objects.h"
#include "copy/cast.h"
#include "errors.h"

namespace tensorlift {
namespace {

CopyPolicy parse_copy(py::handle copy) {
  if (copy.is_none()) return CopyPolicy::kIfNeeded;
  if (copy.ptr() == Py_True) return CopyPolicy::kAlways;
  if (copy.ptr() == Py_False) return CopyPolicy::kNever;
  throw TypeError("copy: expected True, False or None, got " + repr_of(copy) + ".");
}

ReadonlyPolicy parse_readonly(py::handle readonly) {
  constexpr const char* kExpected =
      "readonly: expected \"warn\", \"share\", \"copy\" or \"error\", got ";
  if (!PyUnicode_Check(readonly.ptr())) throw TypeError(kExpected + repr_of(readonly) + ".");
  const auto is = [readonly](const char* word) {
    return PyUnicode_CompareWithASCIIString(readonly.ptr(), word) == 0;
  };
  if (is("warn")) return ReadonlyPolicy::kWarn;
  if (is("share")) return ReadonlyPolicy::kShare;
  if (is("copy")) return ReadonlyPolicy::kCopy;
  if (is("error")) return ReadonlyPolicy::kError;
  throw ValueError(kExpected + repr_of(readonly) + ".");
}

}  // namespace

std::optional<c10::ScalarType> parse_dtype(py::handle dtype) {
  if (dtype.is_none()) return std::nullopt;
  const auto type = unpack_dtype(dtype);
  if (!type) {
    throw TypeError("dtype: expected a torch.dtype or None, got " + repr_of(dtype) +
                    ". Pass for instance torch.float32.");
  }
  if (!is_castable(*type)) {
    throw TypeError("dtype: expected a dtype of plain numbers, got " + repr_of(dtype) +
                    ". Convert to one of those, then use Tensor.to().");
  }
  return type;
}

bool is_refusal(const py::error_already_set& error) {
  return error.matches(PyExc_Exception) && !error.matches(PyExc_MemoryError);
}

void clear_refusal() {
  if (!PyErr_Occurred()) return;
  const py::error_already_set error;
  if (!is_refusal(error)) throw error;
}

std::string repr_of(py::handle object) {
  const auto text = py::repr(object).cast<std::string>();
  constexpr std::size_t kLongest = 200;  // a whole array tells less than its type
  if (text.size() <= kLongest) return text;
  return std::string("one of type ") + Py_TYPE(object.ptr())->tp_name;
}

void refuse_type(const char* option, const char* expected, py::handle got) {
  throw TypeError(std::string(option) + ": expected " + expected + ", got " + repr_of(got) + ".");
}

std::int64_t parse_int(const char* option, const char* expected, py::handle number) {
  if (!PyIndex_Check(number.ptr()) || PyBool_Check(number.ptr())) {
    refuse_type(option, expected, number);
  }
  const Py_ssize_t value = PyNumber_AsSsize_t(number.ptr(), PyExc_OverflowError);
  if (value != -1 || !PyErr_Occurred()) return value;
  const bool is_too_large = PyErr_ExceptionMatches(PyExc_OverflowError) != 0;
  clear_refusal();  // an array, say
  if (!is_too_large) refuse_type(option, expected, number);
  throw BatchValueError(std::string(option) + ": expected " + expected +
                        " of at most 64 bits, got " + repr_of(number) + ".");
}

bool parse_bool(const char* option, py::handle flag) {
  if (flag.ptr() == Py_True) return true;
  if (flag.ptr() == Py_False) return false;
  refuse_type(option, "True or False", flag);
}

ConvertOptions parse_convert_options(py::handle dtype, py::handle copy, py::handle readonly) {
  return {parse_dtype(dtype), parse_copy(copy), parse_readonly(readonly)};
}

std::optional<int> parse_threads(py::handle threads) {
  if (threads.is_none()) return std::nullopt;
  if (!PyIndex_Check(threads.ptr()) || PyBool_Check(threads.ptr())) {
    throw TypeError("threads: expected a positive int or None, got " + repr_of(threads) + ".");
  }
  const Py_ssize_t count = PyNumber_AsSsize_t(threads.ptr(), nullptr);  // clips
  if (count == -1 && PyErr_Occurred()) throw py::error_already_set();
  if (count < 1 || count > std::numeric_limits<int>::max()) {
    throw ValueError("threads: expected a positive int or None, got " + repr_of(threads) + ".");
  }
  return static_cast<int>(count);
}

}  // namespace tensorlift
