// The binding layer's one way to Python and NumPy. Only its files may include this (and never
// Python.h or NumPy's headers themselves): tests/sources/test_includes.py keeps the list.
#pragma once

// torch's own copy of pybind11, so that both sides speak one version. Includes Python.h. Its
// objects and casts; only bindings.cpp needs all of it, which takes four times as long to compile.
#include <pybind11/cast.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_1_22_API_VERSION  // built with NumPy 2's headers, runs on 1.26 too
#define PY_ARRAY_UNIQUE_SYMBOL tensorlift_numpy_api
#ifndef TENSORLIFT_DEFINES_NUMPY_API  // bindings.cpp alone
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>

namespace py = pybind11;

namespace tensorlift {

// Throws py::error_already_set.
[[nodiscard]] inline py::object import_module(const char* name) {
  PyObject* module = PyImport_ImportModule(name);
  if (module == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(module);
}

}  // namespace tensorlift
