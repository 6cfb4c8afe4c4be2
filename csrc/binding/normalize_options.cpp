#include "binding/normalize_options.h"

#include <cmath>
#include <string>

#include "binding/options.h"
#include "errors.h"

namespace tensorlift {
namespace {

constexpr const char* kOneOrEach = "a number, one for each channel, or None";

double parse_real(const char* option, const char* expected, py::handle number) {
  PyObject* object = number.ptr();
  if (!PyBool_Check(object) && !PyArray_IsScalar(object, ComplexFloating)) {
    const double value = PyFloat_AsDouble(object);
    if (value != -1 || !PyErr_Occurred()) return value;
    clear_refusal();
  }
  refuse_type(option, expected, number);
}

// As the float32 that it is in the arithmetic of most batches.
bool is_finite(double number) { return std::isfinite(static_cast<float>(number)); }
bool is_above_0(double number) { return static_cast<float>(number) > 0; }

// What has several items in an order, and ends, as a tuple; null: it is a number, or wrong.
py::object items_in(py::handle numbers) {
  PyObject* object = numbers.ptr();
  if (PyFloat_Check(object) || PyUnicode_Check(object) || PyBytes_Check(object) ||
      PyDict_Check(object) || PyAnySet_Check(object)) {
    return {};
  }
  if (PyObject_Size(object) < 0) {
    clear_refusal();  // an array of no dimensions
    return {};
  }
  auto items = py::reinterpret_steal<py::object>(PySequence_Tuple(object));
  if (!items) clear_refusal();
  return items;
}

template <typename IsOne>
void parse_numbers(const char* option, const char* range, IsOne is_one, py::handle numbers,
                   c10::SmallVector<double, 4>& parsed) {
  if (numbers.is_none()) return;
  parsed.clear();
  const auto add = [&](py::handle number) {
    parsed.push_back(parse_real(option, kOneOrEach, number));
    if (!is_finite(parsed.back()) || !is_one(parsed.back())) {
      throw ValueError(std::string(option) + ": expected " + range + ", got " + repr_of(numbers) +
                       ".");
    }
  };
  const py::object items = items_in(numbers);
  if (!items) return add(numbers);
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items.ptr()); ++i) {
    add(PyTuple_GET_ITEM(items.ptr(), i));
  }
  if (parsed.empty()) {
    throw ValueError(std::string(option) + ": expected " + kOneOrEach + ", got none.");
  }
}

bool parse_is_bgr(py::handle order) {
  constexpr const char* kExpected = "\"rgb\" or \"bgr\"";
  if (!PyUnicode_Check(order.ptr())) refuse_type("channel_order", kExpected, order);
  const bool is_bgr = PyUnicode_CompareWithASCIIString(order.ptr(), "bgr") == 0;
  if (!is_bgr && PyUnicode_CompareWithASCIIString(order.ptr(), "rgb") != 0) {
    throw ValueError(std::string("channel_order: expected ") + kExpected + ", got " +
                     repr_of(order) + ".");
  }
  return is_bgr;
}

}  // namespace

void parse_normalize(const NormalizeArguments& arguments, BatchOptions& options) {
  options.reverses_channels = parse_is_bgr(arguments.channel_order);
  const bool has_scale = !arguments.scale.is_none();
  const bool has_numbers = !arguments.mean.is_none() || !arguments.std.is_none();
  if (!has_scale && !has_numbers) return;
  NormalizeOptions& normalize = options.normalize.emplace();
  parse_numbers(
      "mean", "finite numbers", [](double) { return true; }, arguments.mean, normalize.mean);
  parse_numbers("std", "finite numbers above 0", &is_above_0, arguments.std, normalize.std);
  if (!has_scale) {
    throw ValueError(
        "scale: expected a number beside mean and std, got None. Pass 1/255 for uint8 images, 1 "
        "for numbers that are in their range already.");
  }
  normalize.scale = parse_real("scale", "a number or None", arguments.scale);
  if (!is_finite(normalize.scale)) {
    throw ValueError("scale: expected a finite number, got " + repr_of(arguments.scale) + ".");
  }
}

py::tuple normalize_tuple(const BatchOptions& options) {
  const auto list_of = [](const c10::SmallVector<double, 4>& numbers) {
    py::list list;
    for (const double number : numbers) list.append(number);
    return list;
  };
  const NormalizeOptions given = options.normalize.value_or(NormalizeOptions());
  return py::make_tuple(options.normalize ? py::object(py::float_(given.scale)) : py::none(),
                        list_of(given.mean), list_of(given.std),
                        options.reverses_channels ? "bgr" : "rgb");
}

}  // namespace tensorlift
