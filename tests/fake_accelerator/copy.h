// Copy: between host and device and on the device, in the order of the streams, with the timing and
// the pitfalls that CUDA has.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace fake {

// What aten::_copy_from does: target[...] = source, broadcast and cast, at least one of them on the
// device. Returns the target.
at::Tensor copy_from(const at::Tensor& source, const at::Tensor& target, bool non_blocking);

// Enqueues the bytes of `from` for `to`, both addresses of device memory, on the current stream.
void copy_on_device(const void* from, void* to, std::size_t nbytes);

// The (after + 1)-th copy from the host from now on throws, before anything is enqueued; -1: none.
void fail_copy(std::int64_t after);

}  // namespace fake
