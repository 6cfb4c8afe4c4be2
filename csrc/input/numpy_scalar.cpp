#include "input/numpy_scalar.h"

#include <array>
#include <cstddef>

#include "input/numpy_dtype.h"

namespace tensorlift {
namespace {

template <typename Object>
ScalarType scalar_type(PyTypeObject& type, int number) {
  return {&type, numpy_dtype::kBuiltinTypes[static_cast<std::size_t>(number)],
          offsetof(Object, obval)};
}

// The most frequent first. Made when it is needed: NumPy's types have no address before its import.
const auto& scalar_types() {
  static const std::array types{
      scalar_type<PyFloatScalarObject>(PyFloatArrType_Type, NPY_FLOAT),
      scalar_type<PyLongScalarObject>(PyLongArrType_Type, NPY_LONG),
      scalar_type<PyDoubleScalarObject>(PyDoubleArrType_Type, NPY_DOUBLE),
      scalar_type<PyBoolScalarObject>(PyBoolArrType_Type, NPY_BOOL),
      scalar_type<PyIntScalarObject>(PyIntArrType_Type, NPY_INT),
      scalar_type<PyUByteScalarObject>(PyUByteArrType_Type, NPY_UBYTE),
      scalar_type<PyHalfScalarObject>(PyHalfArrType_Type, NPY_HALF),
      scalar_type<PyByteScalarObject>(PyByteArrType_Type, NPY_BYTE),
      scalar_type<PyShortScalarObject>(PyShortArrType_Type, NPY_SHORT),
      scalar_type<PyUShortScalarObject>(PyUShortArrType_Type, NPY_USHORT),
      scalar_type<PyUIntScalarObject>(PyUIntArrType_Type, NPY_UINT),
      scalar_type<PyULongScalarObject>(PyULongArrType_Type, NPY_ULONG),
      scalar_type<PyLongLongScalarObject>(PyLongLongArrType_Type, NPY_LONGLONG),
      scalar_type<PyULongLongScalarObject>(PyULongLongArrType_Type, NPY_ULONGLONG),
      scalar_type<PyCFloatScalarObject>(PyCFloatArrType_Type, NPY_CFLOAT),
      scalar_type<PyCDoubleScalarObject>(PyCDoubleArrType_Type, NPY_CDOUBLE),
  };
  return types;
}

}  // namespace

const ScalarType* scalar_type_of(PyObject* object) {
  for (const ScalarType& known : scalar_types()) {
    if (Py_TYPE(object) == known.type) return &known;
  }
  return nullptr;
}

}  // namespace tensorlift
