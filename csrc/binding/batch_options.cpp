#include "binding/batch_options.h"

#include <optional>
#include <string>

#include "binding/options.h"
#include "binding/torch_objects.h"
#include "copy/cast.h"
#include "errors.h"
#include "memory/host_memory.h"

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
  if (is_tensor(number) && unpack_tensor(number).dim() == 0) return unpack_tensor(number).item();
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

// A sequence, of which each item is for a dimension.
bool is_per_dimension(py::handle option) {
  const bool is_one = PyUnicode_Check(option.ptr()) || PyIndex_Check(option.ptr());
  return !is_one && py::isinstance<py::sequence>(option);
}

// What parse(item) makes of each item.
template <typename T, typename Parse>
PerDimension<T> parse_each(py::handle option, Parse parse) {
  PerDimension<T> parsed{{}, !is_per_dimension(option)};
  if (parsed.is_one) {
    parsed.values.push_back(parse(option));
  } else {
    for (const py::handle item : py::reinterpret_borrow<py::sequence>(option)) {
      parsed.values.push_back(parse(item));
    }
  }
  return parsed;
}

// "right" or "left".
bool parse_is_left(const char* option, const char* expected, py::handle side) {
  if (!PyUnicode_Check(side.ptr())) refuse_type(option, expected, side);
  const bool is_left = PyUnicode_CompareWithASCIIString(side.ptr(), "left") == 0;
  if (!is_left && PyUnicode_CompareWithASCIIString(side.ptr(), "right") != 0) {
    throw ValueError(std::string(option) + ": expected " + expected + ", got " + repr_of(side) +
                     ".");
  }
  return is_left;
}

constexpr const char* kPositiveOrNone = "a positive int, one for each dimension, or None";

std::int64_t parse_positive(const char* option, const char* expected, py::handle number) {
  const std::int64_t parsed = parse_int(option, expected, number);
  if (parsed < 1) {
    throw ValueError(std::string(option) + ": expected " + expected + ", got " + repr_of(number) +
                     ".");
  }
  return parsed;
}

Truncation::Side parse_truncate(py::handle truncate) {
  if (truncate.is_none()) return Truncation::Side::kNone;
  const bool is_left = parse_is_left("truncate", "\"right\", \"left\" or None", truncate);
  return is_left ? Truncation::Side::kLeft : Truncation::Side::kRight;
}

Truncation parse_truncation(py::handle max_length, py::handle truncate) {
  Truncation truncation;
  truncation.side = parse_truncate(truncate);
  if (!max_length.is_none()) {
    const auto limits = parse_each<std::int64_t>(max_length, [](py::handle limit) {
      return limit.is_none() ? kNoLimit : parse_positive("max_length", kPositiveOrNone, limit);
    });
    truncation.max_length.assign(limits.values.begin(), limits.values.end());
    truncation.is_of_first = limits.is_one;
  }
  if (max_length.is_none() && !truncate.is_none()) {
    throw ValueError("truncate: expected None without max_length=, got " + repr_of(truncate) + ".");
  }
  return truncation;
}

Shape parse_mask_dims(py::handle dims) {
  constexpr const char* kExpected = "an int, several, or None";
  if (!is_per_dimension(dims)) return {parse_int("mask_dim", kExpected, dims)};
  Shape parsed;
  for (const py::handle dim : py::reinterpret_borrow<py::sequence>(dims)) {
    parsed.push_back(parse_int("mask_dim", kExpected, dim));
  }
  return parsed;
}

std::optional<MaskOptions> parse_mask(py::handle mask, py::handle dims) {
  if (mask.ptr() == Py_False) {
    if (dims.is_none()) return std::nullopt;
    throw ValueError("mask_dim: expected None without mask=, got " + repr_of(dims) + ".");
  }
  MaskOptions options{c10::kBool, std::nullopt};
  if (mask.ptr() != Py_True) {
    const auto dtype = unpack_dtype(mask);
    if (!dtype || !is_castable(*dtype)) {
      refuse_type("mask", "True, False or a torch.dtype of plain numbers", mask);
    }
    options.dtype = *dtype;
  }
  if (!dims.is_none()) options.dims = parse_mask_dims(dims);
  return options;
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

c10::ScalarType parse_offsets_dtype(py::handle dtype) {
  constexpr const char* kExpected = "torch.int64 or torch.int32";
  const auto parsed = unpack_dtype(dtype);
  if (!parsed) refuse_type("offsets_dtype", kExpected, dtype);
  if (parsed != c10::kLong && parsed != c10::kInt) {
    throw ValueError(std::string("offsets_dtype: expected ") + kExpected + ", got " +
                     repr_of(dtype) + ".");
  }
  return *parsed;
}

at::Tensor parse_offsets(py::handle offsets) {
  constexpr const char* kExpected = "a 1-D tensor of int32 or int64 in the host's memory";
  if (!is_tensor(offsets)) refuse_type("offsets", kExpected, offsets);
  at::Tensor tensor = unpack_tensor(offsets);
  const bool is_integer = tensor.scalar_type() == c10::kInt || tensor.scalar_type() == c10::kLong;
  const bool is_plain = has_plain_memory(tensor) && tensor.is_cpu();
  if (!is_integer || !is_plain || tensor.dim() != 1 || tensor.numel() == 0) {
    refuse_type("offsets", kExpected, offsets);
  }
  return tensor;
}

void parse_padding(const PaddingArguments& arguments, BatchOptions& options) {
  options.padding = parse_number(arguments.padding_value);
  options.layout.pad_left = parse_each<bool>(arguments.padding_side, [](py::handle side) {
    return parse_is_left("padding_side", "\"right\" or \"left\"", side);
  });
  if (!arguments.pad_to_multiple_of.is_none()) {
    options.layout.pad_to_multiple_of =
        parse_each<std::int64_t>(arguments.pad_to_multiple_of, [](py::handle multiple) {
          return parse_positive("pad_to_multiple_of", kPositiveOrNone, multiple);
        });
  }
  options.truncation = parse_truncation(arguments.max_length, arguments.truncate);
  options.mask = parse_mask(arguments.mask, arguments.mask_dim);
}

void parse_packing(py::handle max_tokens, py::handle strategy, py::handle truncate,
                   PackOptions& options) {
  options.max_tokens = parse_positive("max_tokens", "a positive int", max_tokens);
  constexpr const char* kStrategies = "\"first_fit_decreasing\" or \"sequential\"";
  if (!PyUnicode_Check(strategy.ptr())) refuse_type("strategy", kStrategies, strategy);
  const auto name = strategy.cast<std::string>();
  if (name != "first_fit_decreasing" && name != "sequential") {
    throw ValueError(std::string("strategy: expected ") + kStrategies + ", got " +
                     repr_of(strategy) + ".");
  }
  options.strategy = name == "sequential" ? PackStrategy::kSequential : PackStrategy::kDecreasing;
  options.truncation = {{options.max_tokens}, true, parse_truncate(truncate), "max_tokens"};
}

}  // namespace tensorlift
