// Device options: the arguments device, non_blocking and stream, checked.
#pragma once

#include <optional>
#include <string>

#include "binding/python_api.h"
#include "device/transfer.h"

namespace tensorlift {

struct DeviceOptions {
  TransferOptions transfer;
  bool is_plain;  // has not what a transfer of ours needs: Tensor.to() alone
};

// The device that is meant; it is not used. Throws TypeError or ValueError. GIL held.
[[nodiscard]] c10::Device parse_device_name(py::handle device);

// None for the host's memory (device=None or a CPU), pinned or not. Makes torch ready to use the
// device, and refuses where it cannot be: throws TypeError, ValueError or RuntimeError that names
// the option. GIL held.
[[nodiscard]] std::optional<DeviceOptions> parse_device(py::handle device, py::handle non_blocking,
                                                        py::handle stream, bool pin_memory);

// The device that an `out` lies on which is in no memory of the host: as above.
[[nodiscard]] DeviceOptions parse_device_of(const at::Tensor& out, py::handle non_blocking,
                                            py::handle stream);

// Throws RuntimeError in a forked child of a process that used the accelerator. GIL held.
void refuse_forked_child(const std::string& what);

// Changes the settings of staging memory; None leaves one as it is, threads=0 takes its limit away.
// Throws TypeError or ValueError, and then nothing is changed. GIL held.
void parse_staging(py::handle chunk_bytes, py::handle buffers, py::handle threads);

// Tensor.to() for a device that is_plain. Waits: the sources may be changed afterwards. GIL held.
[[nodiscard]] at::Tensor to_plain_device(const at::Tensor& tensor, const DeviceOptions& options);

}  // namespace tensorlift
