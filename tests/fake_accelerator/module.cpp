// Module: the device as torch.fakeacc: what torch asks of a device module, and what tests control.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/csrc/autograd/python_variable.h>

#include <optional>

#include "copy.h"
#include "counters.h"
#include "current.h"
#include "device_memory.h"
#include "fork.h"
#include "guard.h"
#include "pinned_memory.h"
#include "registered_memory.h"
#include "streams.h"

namespace py = pybind11;

namespace fake {
namespace {

constexpr auto kDefaultMode = Mode::kLazy;

void reset_stats() {
  reset_counts();
  streams().clear_log();
}

// The state in which every test begins.
void reset() {
  if (is_in_bad_fork()) return;  // locks may be held for ever
  streams().set_capturing(false);
  streams().unblock();
  fail_device_allocation(-1);
  fail_pinned_allocation(-1);
  fail_copy(-1);
  refuse_registration(-1);
  streams().set_mode(kDefaultMode, 0);
  reset_stats();
}

void block_stream(std::optional<int> number) {
  streams().block(number ? stream_index(current_device(), *number) : current_stream());
}

py::object no_random_state(const py::object& /*device*/) {
  const py::module_ torch = py::module_::import("torch");
  return torch.attr("empty")(0, py::arg("dtype") = torch.attr("uint8"));
}

// torch's protocol for device modules: torch/utils/backend_registration.py, torch/random.py.
void define_device_module(py::module_& module) {
  module.def("is_available", [] { return true; });
  module.def("is_initialized", [] { return true; });
  module.def("_lazy_init", [] {});
  module.def("_is_in_bad_fork", &is_in_bad_fork);
  module.def("device_count", [] { return kDevices; });
  module.def("current_device", py::overload_cast<>(&current_device));
  module.def("set_device", &set_current_device, py::arg("device"));
  // It has no random numbers of its own: they are made on the CPU.
  module.def("manual_seed_all", [](const py::object& /*seed*/) {}, py::arg("seed"));
  module.def("get_rng_state", &no_random_state, py::arg("device") = py::none());
  module.def(
      "set_rng_state", [](const py::object& /*state*/, const py::object& /*device*/) {},
      py::arg("new_state"), py::arg("device") = py::none());
}

// What torch.cuda.cudart() has for memory of the host.
void define_runtime(py::module_& module) {
  const py::call_guard<py::gil_scoped_release> without_gil;
  py::module_ runtime = module.def_submodule("_cudart");
  runtime.def(
      "cudaHostRegister",
      [](std::uintptr_t address, std::size_t nbytes, unsigned int /*flags*/) {
        return register_memory(address, nbytes);
      },
      without_gil);
  runtime.def("cudaHostUnregister", &unregister_memory, without_gil);
  module.def("cudart", [runtime] { return runtime; });
}

// Nothing here holds the GIL while it waits or takes a lock.
void define_controls(py::module_& module) {
  const py::call_guard<py::gil_scoped_release> without_gil;
  module.attr("EAGER") = static_cast<int>(Mode::kEager);
  module.attr("LAZY") = static_cast<int>(Mode::kLazy);
  module.attr("THREAD") = static_cast<int>(Mode::kThread);
  module.attr("DEVICE_POISON") = static_cast<int>(kDevicePoison);
  module.attr("PINNED_POISON") = static_cast<int>(kPinnedPoison);
  module.def("reset", &reset, without_gil);
  // torch's own functions release the GIL first: which of them do not is another with each version.
  module.def(
      "copy_with_gil",
      [](const py::object& target, const py::object& source) {
        THPVariable_Unpack(target.ptr()).copy_(THPVariable_Unpack(source.ptr()));
      },
      py::arg("target"), py::arg("source"));
  module.def(
      "set_mode", [](int mode, int delay_us) { streams().set_mode(Mode(mode), delay_us); },
      py::arg("mode"), py::arg("delay_us") = 0, without_gil);
  module.def(
      "set_capturing", [](bool on) { streams().set_capturing(on); }, py::arg("capturing"),
      without_gil);
  module.def("block_stream", &block_stream, py::arg("stream") = py::none(), without_gil);
  module.def("unblock", [] { streams().unblock(); }, without_gil);
  module.def("pending", [] { return streams().pending(); }, without_gil);
  module.def("log", [] { return streams().log(); }, without_gil);
  module.def("stats", &counts, without_gil);
  module.def("reset_stats", &reset_stats, without_gil);
  module.def("live_device_bytes", &live_device_bytes, without_gil);
  module.def("live_pinned_bytes", &live_pinned_bytes, without_gil);
  module.def("fail_device_allocation", &fail_device_allocation, py::arg("after"), without_gil);
  module.def("registered_bytes", &registered_bytes, without_gil);
  module.def("refuse_registration", &refuse_registration, py::arg("after"), without_gil);
  module.def("fail_copy", &fail_copy, py::arg("after"), without_gil);
  module.def("fail_pinned_allocation", &fail_pinned_allocation, py::arg("after"), without_gil);
}

}  // namespace
}  // namespace fake

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.doc() = "fakeacc: a device for tests, with hostile but legal timing.";
  fake::register_device();
  fake::define_device_module(module);
  fake::define_runtime(module);
  fake::define_controls(module);
}
