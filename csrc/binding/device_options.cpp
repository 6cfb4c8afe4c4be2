#include "binding/device_options.h"

#include <ATen/DeviceAccelerator.h>
#include <torch/version.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "binding/free_threading.h"
#include "binding/gil.h"
#include "binding/options.h"
#include "binding/torch_objects.h"
#include "device/staging.h"
#include "dispatch_guard.h"
#include "errors.h"

namespace tensorlift {
namespace {

// The first line of what a Python exception says.
std::string first_line(const py::error_already_set& error) {
  const std::string text = py::str(error.value()).cast<std::string>();
  return text.substr(0, text.find('\n'));
}

// As torch.empty(device=…) begins.
void make_ready(c10::Device device) {
  refuse_forked_child(device.str());
  std::string why;
  try {
    start_device(device.type());
    const auto count = c10::impl::VirtualGuardImpl(device.type()).deviceCount();
    if (device.index() < count && count > 0) return;
    why = "it has " + std::to_string(count);
  } catch (const py::error_already_set& error) {  // of torch's Python half
    if (!is_refusal(error)) throw error;
    why = first_line(error);
  } catch (const c10::Error& error) {
    why = error.what_without_backtrace();
  }
  throw ValueError("device: expected a device that torch can use here, got " + device.str() + " (" +
                   why.substr(0, why.find('\n')) + ").");
}

std::optional<c10::Stream> parse_stream(py::handle stream, c10::Device device) {
  if (stream.is_none()) return std::nullopt;
  const auto parsed = unpack_stream(stream);
  if (!parsed) {
    throw TypeError("stream: expected a torch.Stream or None, got " + repr_of(stream) + ".");
  }
  if (parsed->device() != device) {
    throw ValueError("stream: expected a stream of " + device.str() + ", got one of " +
                     parsed->device().str() + ".");
  }
  return parsed;
}

bool is_capturing_on_older_torch([[maybe_unused]] c10::Device device) {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 13
  return false;
#else
  if (device.type() != c10::DeviceType::CUDA) return false;
  return is_cuda_capturing();
#endif
}

void refuse_capture(const TransferOptions& options) {
  const c10::Stream current =
      c10::impl::VirtualGuardImpl(options.device.type()).getStream(options.device);
  const bool captures = is_capturing(current) || is_capturing_on_older_torch(options.device) ||
                        (options.stream && is_capturing(*options.stream));
  if (!captures) return;
  throw RuntimeError(
      "device: expected no graph capture in progress, got one: each replay would send what then "
      "happens to lie in the staging memory. Convert before the capture, and copy into the graph's "
      "tensors.");
}

void refuse_stream(py::handle stream, const std::string& got) {
  if (stream.is_none()) return;
  throw ValueError("stream: expected None for " + got + ", got " + repr_of(stream) + ".");
}

// A device other than the host.
DeviceOptions ready_device(c10::Device device, bool non_blocking, py::handle stream) {
  if (device.is_meta()) {
    throw ValueError("device: expected a device with memory, got meta.");
  }
  make_ready(device);
  if (!device.has_index()) device = c10::impl::VirtualGuardImpl(device.type()).getDevice();
  const bool is_plain = !can_transfer_to(device.type());
  if (is_plain) refuse_stream(stream, device.str());
  DeviceOptions options{{device, std::nullopt, non_blocking}, is_plain};
  if (is_plain) return options;
  options.transfer.stream = parse_stream(stream, device);
  refuse_capture(options.transfer);
  return options;
}

}  // namespace

c10::Device parse_device_name(py::handle device) {
  if (const auto unpacked = unpack_device(device)) return *unpacked;
  constexpr const char* kExpected =
      "device: expected a torch.device, its name such as \"cuda:0\", or an index, got ";
  const bool is_index = PyLong_Check(device.ptr()) && !PyBool_Check(device.ptr());
  if (!PyUnicode_Check(device.ptr()) && !is_index) {
    throw TypeError(kExpected + repr_of(device) + ".");
  }
  try {
    return device_named(device);
  } catch (const py::error_already_set& error) {
    if (!is_refusal(error)) throw;
    throw ValueError(kExpected + repr_of(device) + " (" + first_line(error) + ").");
  }
}

void refuse_forked_child(const std::string& what) {
  const std::optional<c10::DeviceType> type = at::getAccelerator(false);
  const bool is_lost = staging_is_lost_by_fork() || (type && is_lost_by_fork(*type));
  if (!is_lost) return;
  throw RuntimeError("device: expected a process that may use " + what +
                     ", got a forked child of one that did. Start workers with \"spawn\", or let "
                     "them return CPU tensors.");
}

std::optional<DeviceOptions> parse_device(py::handle device, py::handle non_blocking,
                                          py::handle stream, bool pin_memory) {
  const bool is_non_blocking = parse_bool("non_blocking", non_blocking);
  const c10::Device parsed = device.is_none() ? c10::Device(c10::kCPU) : parse_device_name(device);
  if (parsed.is_cpu()) {
    refuse_stream(stream, device.is_none() ? "device=None" : "a CPU");
    if (pin_memory) refuse_forked_child("pinned memory");
    return std::nullopt;
  }
  if (pin_memory) {
    throw ValueError(
        "pin_memory: expected False with device=, got True. Leave it out: staging "
        "memory is pinned anyhow.");
  }
  return ready_device(parsed, is_non_blocking, stream);
}

DeviceOptions parse_device_of(const at::Tensor& out, py::handle non_blocking, py::handle stream) {
  return ready_device(out.device(), parse_bool("non_blocking", non_blocking), stream);
}

void parse_staging(py::handle chunk_bytes, py::handle buffers, py::handle threads) {
  const auto parse = [](const char* option, py::handle number, std::int64_t least,
                        std::int64_t most) -> std::optional<std::int64_t> {
    if (number.is_none()) return std::nullopt;
    const std::string expected =
        "an int from " + std::to_string(least) + " to " + std::to_string(most) + ", or None";
    const std::int64_t value = parse_int(option, expected.c_str(), number);
    if (value >= least && value <= most) return value;
    throw ValueError(std::string(option) + ": expected " + expected + ", got " + repr_of(number) +
                     ".");
  };
  constexpr std::int64_t kPage = 4 << 10;
  const auto chunk = parse("chunk_bytes", chunk_bytes, kPage, std::int64_t{1} << 40);
  const auto count = parse("buffers", buffers, 1, 1 << 10);
  const auto limit = parse("threads", threads, 0, 1 << 10);

  static StateMutex mutex;  // from reading the settings to writing them
  const std::lock_guard lock(mutex);
  StagingSettings settings = staging_settings();
  if (chunk) settings.chunk_bytes = static_cast<std::size_t>((*chunk + kPage - 1) / kPage * kPage);
  if (count) settings.buffers = static_cast<int>(*count);
  if (limit) settings.threads = *limit > 0 ? std::optional(static_cast<int>(*limit)) : std::nullopt;
  set_staging_settings(settings);
}

at::Tensor to_plain_device(const at::Tensor& tensor, const DeviceOptions& options) {
  const GilRelease release;
  const DispatchGuard plain;
  return tensor.to(options.transfer.device, /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace tensorlift
