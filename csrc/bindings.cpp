// Names, arguments and documentation of the native module; no logic.
#define TENSORLIFT_DEFINES_NUMPY_API
#include <torch/csrc/Exceptions.h>

#include "batch.h"
#include "batch_options.h"
#include "block_cache.h"
#include "errors.h"
#include "explain.h"
#include "explain_batch.h"
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
  } catch (const IndexError& error) {
    PyErr_SetString(PyExc_IndexError, error.what());
  } catch (const InternalError& error) {
    PyErr_Format(PyExc_RuntimeError, "tensorlift internal error: %s. Please report it.",
                 error.what());
  } catch (const c10::Error&) {
    torch::translate_exception_to_python(exception);
  }
}

// The arguments that all batches take, in front of those of each.
BatchOptions batch_options(Operation operation, py::handle dtype, py::handle channel_dim,
                           py::handle memory_format, py::handle out, py::handle pin_memory,
                           py::handle threads) {
  BatchOptions options;
  options.layout.operation = operation;
  parse_batch_options(dtype, channel_dim, memory_format, out, pin_memory, threads, options);
  return options;
}

template <Operation kOperation>
at::Tensor join(py::handle arrays, py::handle dim, py::handle dtype, py::handle channel_dim,
                py::handle memory_format, py::handle out, py::handle pin_memory,
                py::handle threads) {
  BatchOptions options =
      batch_options(kOperation, dtype, channel_dim, memory_format, out, pin_memory, threads);
  parse_dim(dim, options);
  return make_batch(arrays, options).values;
}

void define_batches(py::module_& module) {
  module.def("stack", &join<Operation::kStack>, py::arg("arrays"), py::arg("dim"), py::arg("dtype"),
             py::arg("channel_dim"), py::arg("memory_format"), py::arg("out"),
             py::arg("pin_memory"), py::arg("threads"), "See tensorlift.stack.");
  module.def("cat", &join<Operation::kCat>, py::arg("arrays"), py::arg("dim"), py::arg("dtype"),
             py::arg("channel_dim"), py::arg("memory_format"), py::arg("out"),
             py::arg("pin_memory"), py::arg("threads"), "See tensorlift.cat.");
  module.def(
      "pad",
      [](py::handle arrays, py::handle value, py::handle side, py::handle multiple_of,
         py::handle dtype, py::handle channel_dim, py::handle memory_format, py::handle out,
         py::handle pin_memory, py::handle threads) {
        BatchOptions options = batch_options(Operation::kPad, dtype, channel_dim, memory_format,
                                             out, pin_memory, threads);
        parse_padding(value, side, multiple_of, options);
        Batch batch = make_batch(arrays, options);
        return std::make_pair(std::move(batch.values), std::move(batch.extents));
      },
      py::arg("arrays"), py::arg("value"), py::arg("side"), py::arg("multiple_of"),
      py::arg("dtype"), py::arg("channel_dim"), py::arg("memory_format"), py::arg("out"),
      py::arg("pin_memory"), py::arg("threads"), "(batch, sizes): see tensorlift.pad.");
  module.def(
      "jagged",
      [](py::handle arrays, py::handle dtype, py::handle out, py::handle pin_memory,
         py::handle threads) {
        Batch batch = make_batch(arrays, batch_options(Operation::kJagged, dtype, py::none(),
                                                       py::none(), out, pin_memory, threads));
        return std::make_pair(std::move(batch.values), std::move(batch.extents));
      },
      py::arg("arrays"), py::arg("dtype"), py::arg("out"), py::arg("pin_memory"),
      py::arg("threads"), "(values, offsets): see tensorlift.jagged.");
  module.def(
      "explain_batch",
      [](py::handle arrays, py::handle operation, py::handle dim, py::handle multiple_of,
         py::handle dtype, py::handle channel_dim) {
        BatchOptions options = batch_options(parse_operation(operation), dtype, channel_dim,
                                             py::none(), py::none(), py::bool_(false), py::none());
        parse_dim(dim, options);
        parse_padding(py::int_(0), py::str("right"), multiple_of, options);
        ignore_unused(options);
        return explain_batch(arrays, options);
      },
      py::arg("arrays"), py::arg("operation"), py::arg("dim"), py::arg("multiple_of"),
      py::arg("dtype"), py::arg("channel_dim"),
      "(entries, shape, dtype, error): see tensorlift.explain.");
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
  define_batches(module);
  module.def("empty_cache", &empty_block_cache, "See tensorlift.empty_cache.");
  module.def("cached_bytes", &cached_bytes, "Bytes that empty_cache() would give back.");
  module.def("default_threads", &default_threads, "Threads that a call uses unless told.");
}

}  // namespace tensorlift
