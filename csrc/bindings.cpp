// Names, arguments and documentation of the native module; no logic.
#define TENSORLIFT_DEFINES_NUMPY_API
#include <torch/csrc/Exceptions.h>

#include "block_cache.h"
#include "errors.h"
#include "explain.h"
#include "from_numpy.h"
#include "options.h"
#include "python_api.h"
#include "workers.h"

#define TENSORLIFT_STRINGIFY_(x) #x
#define TENSORLIFT_STRINGIFY(x) TENSORLIFT_STRINGIFY_(x)

namespace tensorlift {
namespace {

// Read from the file by _build_check.py, before the module is loaded: true even where the package's
// metadata is not.
[[gnu::used]] const char kBuildMark[] =
    "TENSORLIFT_BUILT_FOR_TORCH=" TENSORLIFT_STRINGIFY(TENSORLIFT_TORCH_VERSION);

void translate_exception(std::exception_ptr exception) {
  try {
    if (exception) std::rethrow_exception(exception);
  } catch (const TypeError& error) {
    PyErr_SetString(PyExc_TypeError, error.what());
  } catch (const ValueError& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const InternalError& error) {
    PyErr_Format(PyExc_RuntimeError, "tensorlift internal error: %s. Please report it.",
                 error.what());
  } catch (const c10::Error&) {
    torch::translate_exception_to_python(exception);
  }
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  if (_import_array() < 0) throw py::error_already_set();
  py::register_local_exception_translator(&translate_exception);

  module.doc() = "The native part of tensorlift. Use the functions of the package instead.";
  module.attr("built_for_torch") = kBuildMark + sizeof("TENSORLIFT_BUILT_FOR_TORCH=") - 1;
  module.def(
      "from_numpy",
      [](py::handle arrays, py::handle dtype, py::handle copy, py::handle readonly,
         py::handle threads) {
        return from_numpy(arrays, parse_convert_options(dtype, copy, readonly),
                          parse_threads(threads));
      },
      py::arg("arrays"), py::arg("dtype"), py::arg("copy"), py::arg("readonly"), py::arg("threads"),
      "One tensor per array: see tensorlift.from_numpy.");
  module.def(
      "explain",
      [](py::handle arrays, py::handle dtype, py::handle copy, py::handle readonly) {
        return explain(arrays, parse_convert_options(dtype, copy, readonly));
      },
      py::arg("arrays"), py::arg("dtype"), py::arg("copy"), py::arg("readonly"),
      "(action, reason, shape, dtype in, dtype out, nbytes, message) per array.");
  module.def("empty_cache", &empty_block_cache, "See tensorlift.empty_cache.");
  module.def("cached_bytes", &cached_bytes, "Bytes that empty_cache() would give back.");
  module.def("default_threads", &default_threads, "Threads that a call uses unless told.");
}

}  // namespace tensorlift
