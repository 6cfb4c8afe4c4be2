#include "input/number_list.h"

#include <c10/core/DefaultDtype.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

#include "binding/free_threading.h"
#include "input/numbers.h"

namespace tensorlift {
namespace {

// The lengths of the first list, the first list in it, and so on; false: nested too deeply, or
// changed meanwhile.
bool read_shape(PyObject* list, Shape& shape) {
  if (!is_list(list)) return true;
  if (shape.size() == kMaxDims) return false;
  shape.push_back(PySequence_Fast_GET_SIZE(list));
  if (shape.back() == 0) return true;
  const HeldItem first(list, 0);
  return first.get() != nullptr && read_shape(first.get(), shape);
}

// Calls function(numbers) with the innermost lists in order; false where that says so, or where a
// list has another length or depth than the shape says.
template <typename Function>
bool for_each_innermost(PyObject* list, const Shape& shape, std::size_t depth, Function& function) {
  if (!is_list(list)) return false;
  const std::int64_t size = shape[depth];
  if (depth + 1 == shape.size()) {
    const ObjectLock lock(list);
    const c10::ArrayRef<PyObject*> elements = elements_of(list);
    return static_cast<std::int64_t>(elements.size()) == size && function(elements);
  }
  if (PySequence_Fast_GET_SIZE(list) != size) return false;
  for (std::int64_t i = 0; i < size; ++i) {
    const HeldItem inner(list, i);
    if (inner.get() == nullptr) return false;
    if (!for_each_innermost(inner.get(), shape, depth + 1, function)) return false;
  }
  return true;
}

// std::nullopt: a number is of another type.
std::optional<c10::ScalarType> dtype_of_numbers(PyObject* list, const Shape& shape) {
  bool any_float = false;
  bool any_int = false;
  auto look = [&](c10::ArrayRef<PyObject*> numbers) {
    for (PyObject* number : numbers) {
      if (PyLong_CheckExact(number)) {
        any_int = true;
      } else if (PyFloat_CheckExact(number)) {
        any_float = true;
      } else if (!PyBool_Check(number)) {
        return false;
      }
    }
    return true;
  };
  if (!for_each_innermost(list, shape, 0, look)) return std::nullopt;
  if (any_float) return c10::get_default_dtype_as_scalartype();
  const bool is_empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
  return any_int || is_empty ? c10::kLong : c10::kBool;
}

// Calls write(numbers, elements) with the innermost lists and where their elements belong.
template <typename Function>
bool write_elements(PyObject* list, const Shape& shape, std::size_t itemsize, char* elements,
                    Function& write) {
  auto write_next = [&](c10::ArrayRef<PyObject*> numbers) {
    char* const to = elements;
    elements += numbers.size() * itemsize;
    return write(numbers, static_cast<void*>(to));
  };
  return for_each_innermost(list, shape, 0, write_next);
}

}  // namespace

std::optional<NumberList> read_number_list(PyObject* list, std::pmr::memory_resource& memory) {
  Shape shape;
  if (!read_shape(list, shape)) return std::nullopt;
  // What most lists are: ints alone, read without a look at them before.
  std::int64_t nbytes = sizeof(std::int64_t);
  for (const std::int64_t size : shape) {  // of lists that are in themselves often, perhaps
    if (__builtin_mul_overflow(nbytes, size, &nbytes)) throw std::bad_alloc();
  }
  auto* const elements = static_cast<char*>(memory.allocate(static_cast<std::size_t>(nbytes)));
  auto write_exact = [](c10::ArrayRef<PyObject*> numbers, void* to) {
    return write_exact_integers(numbers, static_cast<std::int64_t*>(to));
  };
  if (write_elements(list, shape, sizeof(std::int64_t), elements, write_exact)) {
    return NumberList{elements, c10::kLong, std::move(shape)};
  }
  // Numbers of any other dtype need no more memory.
  const auto dtype = dtype_of_numbers(list, shape);
  const bool is_float = dtype == c10::kFloat || dtype == c10::kDouble;
  if (!dtype || !(is_float || dtype == c10::kLong || dtype == c10::kBool)) return std::nullopt;
  std::vector<double> numbers_as_double;
  auto write = [&](c10::ArrayRef<PyObject*> numbers, void* to) {
    if (!is_float) return write_integers(numbers, *dtype, to);
    if (dtype == c10::kDouble) return write_floats(numbers, static_cast<double*>(to));
    numbers_as_double.resize(numbers.size());
    if (!write_floats(numbers, numbers_as_double.data())) return false;
    std::transform(numbers_as_double.begin(), numbers_as_double.end(), static_cast<float*>(to),
                   [](double number) { return static_cast<float>(number); });
    return true;
  };
  if (!write_elements(list, shape, c10::elementSize(*dtype), elements, write)) return std::nullopt;
  return NumberList{elements, *dtype, std::move(shape)};
}

}  // namespace tensorlift
