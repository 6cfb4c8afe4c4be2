// Functions of the module that are called for every batch, with positional arguments alone: without
// pybind11's dispatcher, which takes longer than a small batch.
#pragma once

#include <array>
#include <cstddef>
#include <exception>
#include <new>
#include <utility>

#include "binding/exceptions.h"
#include "binding/python_api.h"

namespace tensorlift {

namespace native_function {

template <typename Function>
struct Arity;
template <typename... Arguments>
struct Arity<py::object (*)(Arguments...)> {
  static constexpr std::size_t kCount = sizeof...(Arguments);
};

template <auto kFunction, std::size_t... kIndex>
py::object call_with(PyObject* const* arguments, std::index_sequence<kIndex...>) {
  return kFunction(py::handle(arguments[kIndex])...);
}

}  // namespace native_function

// As a PyMethodDef with METH_FASTCALL has it. kFunction takes py::handles and returns a py::object.
template <auto kFunction>
PyObject* call_native(PyObject*, PyObject* const* arguments, Py_ssize_t count) noexcept {
  constexpr std::size_t kCount = native_function::Arity<decltype(kFunction)>::kCount;
  if (count != static_cast<Py_ssize_t>(kCount)) {
    PyErr_Format(PyExc_TypeError, "expected %zu positional arguments, got %zd", kCount, count);
    return nullptr;
  }
  try {
    return native_function::call_with<kFunction>(arguments, std::make_index_sequence<kCount>())
        .release()
        .ptr();
  } catch (py::error_already_set& raised) {
    raised.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (...) {
    try {
      set_python_error(std::current_exception());
    } catch (const std::exception& error) {
      PyErr_SetString(PyExc_RuntimeError, error.what());
    }
  }
  return nullptr;
}

template <auto kFunction>
[[nodiscard]] PyMethodDef native_method(const char* name, const char* doc) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&call_native<kFunction>)),
          METH_FASTCALL, doc};
}

}  // namespace tensorlift
