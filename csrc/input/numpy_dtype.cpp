#include "input/numpy_dtype.h"

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <mutex>
#include <string>
#include <unordered_map>

#include "binding/free_threading.h"

namespace tensorlift {
namespace {

ElementType element(c10::ScalarType type, ElementKind kind) {
  const auto itemsize = static_cast<std::uint8_t>(c10::elementSize(type));
  return {type, kind, itemsize};
}

ElementType number(c10::ScalarType type) { return element(type, ElementKind::kNumber); }

// C's integer types differ in width between platforms, NumPy's type numbers follow C's types.
ElementType integer(std::size_t width, bool is_signed) {
  switch (width) {
    case 1:
      return number(is_signed ? c10::kChar : c10::kByte);
    case 2:
      return number(is_signed ? c10::kShort : c10::kUInt16);
    case 4:
      return number(is_signed ? c10::kInt : c10::kUInt32);
    case 8:
      return number(is_signed ? c10::kLong : c10::kUInt64);
    default:
      return {};
  }
}

std::array<ElementType, NPY_NTYPES_LEGACY> builtin_types() {
  std::array<ElementType, NPY_NTYPES_LEGACY> types{};  // what is not named is unsupported
  types[NPY_BOOL] = number(c10::kBool);
  types[NPY_BYTE] = integer(sizeof(npy_byte), true);
  types[NPY_UBYTE] = integer(sizeof(npy_ubyte), false);
  types[NPY_SHORT] = integer(sizeof(npy_short), true);
  types[NPY_USHORT] = integer(sizeof(npy_ushort), false);
  types[NPY_INT] = integer(sizeof(npy_int), true);
  types[NPY_UINT] = integer(sizeof(npy_uint), false);
  types[NPY_LONG] = integer(sizeof(npy_long), true);
  types[NPY_ULONG] = integer(sizeof(npy_ulong), false);
  types[NPY_LONGLONG] = integer(sizeof(npy_longlong), true);
  types[NPY_ULONGLONG] = integer(sizeof(npy_ulonglong), false);
  types[NPY_HALF] = number(c10::kHalf);
  types[NPY_FLOAT] = number(c10::kFloat);
  types[NPY_DOUBLE] = number(c10::kDouble);
  types[NPY_CFLOAT] = number(c10::kComplexFloat);
  types[NPY_CDOUBLE] = number(c10::kComplexDouble);
  types[NPY_DATETIME] = element(c10::kLong, ElementKind::kDatetime);
  types[NPY_TIMEDELTA] = element(c10::kLong, ElementKind::kDatetime);
  return types;
}

// ml_dtypes' types that have the same bits as one of torch's. Its others (float8_e4m3, int4, ...)
// have none.
constexpr struct {
  const char* name;
  c10::ScalarType dtype;
} kMlDtypes[] = {
    {"bfloat16", c10::kBFloat16},
    {"float8_e4m3fn", c10::kFloat8_e4m3fn},
    {"float8_e5m2", c10::kFloat8_e5m2},
    {"float8_e4m3fnuz", c10::kFloat8_e4m3fnuz},
    {"float8_e5m2fnuz", c10::kFloat8_e5m2fnuz},
    {"float8_e8m0fnu", c10::kFloat8_e8m0fnu},
    {"complex32", c10::kComplexHalf},
};

ElementType ml_dtypes_element(const PyArray_Descr* descr) {
  const auto type = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(descr->typeobj));
  const npy_intp itemsize = PyDataType_ELSIZE(descr);  // before Python code runs
  if (py::str(type.attr("__module__")).cast<std::string>() != "ml_dtypes") return {};
  const auto name = py::str(type.attr("__name__")).cast<std::string>();
  for (const auto& known : kMlDtypes) {
    const bool same_size = itemsize == static_cast<npy_intp>(c10::elementSize(known.dtype));
    if (name == known.name && same_size) return number(known.dtype);
  }
  return {};
}

// Type numbers of user dtypes are given out at run time and never taken back.
ElementType user_element(const PyArray_Descr* descr) {
  static StateMutex mutex;
  static auto* known = new std::unordered_map<int, ElementType>();  // guarded by it
  const int number = descr->type_num;
  {
    const std::lock_guard lock(mutex);
    const auto found = known->find(number);
    if (found != known->end()) return found->second;
  }
  const ElementType fresh = ml_dtypes_element(descr);
  const std::lock_guard lock(mutex);
  return known->emplace(number, fresh).first->second;
}

}  // namespace

namespace numpy_dtype {

const std::array<ElementType, NPY_NTYPES_LEGACY> kBuiltinTypes = builtin_types();

ElementType other_element_type(const PyArray_Descr* descr) {
  if (PyTypeNum_ISUSERDEF(descr->type_num)) return user_element(descr);
  return {};  // StringDType and other new-style dtypes
}

}  // namespace numpy_dtype
py::object numpy_dtype_of(c10::ScalarType type) {
  for (int number = 0; number < NPY_NTYPES_LEGACY; ++number) {
    const ElementType& known = numpy_dtype::kBuiltinTypes[static_cast<std::size_t>(number)];
    if (known.kind != ElementKind::kNumber || known.dtype != type) continue;
    return py::reinterpret_steal<py::object>(
        reinterpret_cast<PyObject*>(PyArray_DescrFromType(number)));
  }
  for (const auto& known : kMlDtypes) {
    if (known.dtype != type) continue;
    PyObject* module = PyImport_ImportModule("ml_dtypes");
    if (module == nullptr) {
      if (!PyErr_ExceptionMatches(PyExc_ImportError)) throw py::error_already_set();
      PyErr_Clear();
      return {};
    }
    const auto ml_dtypes = py::reinterpret_steal<py::object>(module);
    if (!py::hasattr(ml_dtypes, known.name)) return {};  // an older one
    const py::object scalar = ml_dtypes.attr(known.name);
    return import_module("numpy").attr("dtype")(scalar);
  }
  return {};
}

}  // namespace tensorlift
