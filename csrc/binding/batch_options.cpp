#include "binding/batch_options.h"

#include <optional>
#include <string>

#include "binding/options.h"
#include "binding/torch_objects.h"
#include "errors.h"

namespace tensorlift {
namespace {

std::optional<c10::MemoryFormat> parse_memory_format(py::handle format) {
  if (format.is_none()) return std::nullopt;
  constexpr const char* kExpected =
      "torch.contiguous_format, torch.channels_last, torch.channels_last_3d or None";
  const auto parsed = unpack_memory_format(format);
  if (!parsed) refuse_type("memory_format", kExpected, format);
  if (parsed == c10::MemoryFormat::Preserve) {
    throw ValueError(std::string("memory_format: expected ") + kExpected +
                     ", got torch.preserve_format.");
  }
  return parsed;
}

std::optional<at::Tensor> parse_out(py::handle out) {
  if (out.is_none()) return std::nullopt;
  if (!is_tensor(out)) refuse_type("out", "a torch.Tensor or None", out);
  return unpack_tensor(out);
}

// An int of any size; beyond 64 bits as the nearest double.
c10::Scalar parse_integer(py::handle number) {
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(number.ptr()));
  if (!index) {
    clear_refusal();  // an array, say
    refuse_type("padding_value", "a number", number);
  }
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow == 0) return c10::Scalar(static_cast<std::int64_t>(value));
  const unsigned long long large = PyLong_AsUnsignedLongLong(index.ptr());
  if (!PyErr_Occurred()) return c10::Scalar(static_cast<std::uint64_t>(large));
  PyErr_Clear();
  const double nearest = PyLong_AsDouble(index.ptr());
  if (!PyErr_Occurred()) return c10::Scalar(nearest);
  PyErr_Clear();
  throw ValueError(
      "padding_value: expected a number within the range of float64, got a larger one.");
}

c10::Scalar parse_number(py::handle number) {
  PyObject* object = number.ptr();
  if (PyBool_Check(object)) return c10::Scalar(object == Py_True);
  if (PyIndex_Check(object)) return parse_integer(number);
  if (PyComplex_Check(object) || PyArray_IsScalar(object, ComplexFloating)) {
    const Py_complex value = PyComplex_AsCComplex(object);
    if (!PyErr_Occurred()) return c10::Scalar(c10::complex<double>(value.real, value.imag));
  } else if (PyFloat_Check(object) || PyArray_IsScalar(object, Number) ||
             PyArray_IsScalar(object, Bool)) {
    const double value = PyFloat_AsDouble(object);
    if (!PyErr_Occurred()) return c10::Scalar(value);
  }
  clear_refusal();
  refuse_type("padding_value", "a number", number);
}

std::int64_t parse_multiple(py::handle number) {
  constexpr const char* kExpected = "a positive int, one for each dimension, or None";
  const std::int64_t multiple = parse_int("pad_to_multiple_of", kExpected, number);
  if (multiple < 1) {
    throw ValueError(std::string("pad_to_multiple_of: expected ") + kExpected + ", got " +
                     repr_of(number) + ".");
  }
  return multiple;
}

}  // namespace

Operation parse_operation(py::handle operation) {
  const std::string name =
      PyUnicode_Check(operation.ptr()) ? operation.cast<std::string>() : std::string();
  if (name == "stack") return Operation::kStack;
  if (name == "cat") return Operation::kCat;
  if (name == "pad") return Operation::kPad;
  if (name == "jagged") return Operation::kJagged;
  constexpr const char* kExpected = "\"from_numpy\", \"stack\", \"cat\", \"pad\" or \"jagged\"";
  if (!PyUnicode_Check(operation.ptr())) refuse_type("operation", kExpected, operation);
  throw ValueError(std::string("operation: expected ") + kExpected + ", got " + repr_of(operation) +
                   ".");
}

void parse_batch_options(py::handle dtype, py::handle channel_dim, py::handle memory_format,
                         py::handle out, py::handle pin_memory, py::handle threads,
                         BatchOptions& options) {
  options.dtype = parse_dtype(dtype);
  if (!channel_dim.is_none()) {
    options.channel_dim = parse_int("channel_dim", "an int or None", channel_dim);
  }
  options.memory_format = parse_memory_format(memory_format);
  options.out = parse_out(out);
  options.memory =
      parse_bool("pin_memory", pin_memory) ? OutputMemory::kPinned : OutputMemory::kPageable;
  options.threads = parse_threads(threads);
}

void parse_dim(py::handle dim, BatchOptions& options) {
  options.layout.dim = parse_int("dim", "an int", dim);
}

void parse_padding(py::handle value, py::handle side, py::handle multiple, BatchOptions& options) {
  options.padding = parse_number(value);
  constexpr const char* kSides = "\"right\" or \"left\"";
  if (!PyUnicode_Check(side.ptr())) refuse_type("padding_side", kSides, side);
  options.layout.pad_left = PyUnicode_CompareWithASCIIString(side.ptr(), "left") == 0;
  if (!options.layout.pad_left && PyUnicode_CompareWithASCIIString(side.ptr(), "right") != 0) {
    throw ValueError(std::string("padding_side: expected ") + kSides + ", got " + repr_of(side) +
                     ".");
  }
  Shape& multiples = options.layout.pad_to_multiple_of;
  multiples.clear();
  options.layout.one_multiple = PyIndex_Check(multiple.ptr()) || multiple.is_none() ||
                                !py::isinstance<py::sequence>(multiple);
  if (multiple.is_none()) {
    multiples.push_back(1);
  } else if (options.layout.one_multiple) {
    multiples.push_back(parse_multiple(multiple));
  } else {
    for (const py::handle one : py::reinterpret_borrow<py::sequence>(multiple)) {
      multiples.push_back(parse_multiple(one));
    }
  }
}

}  // namespace tensorlift
