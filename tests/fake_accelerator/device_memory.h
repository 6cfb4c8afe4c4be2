// Device memory: addresses that host code cannot touch, poisoned as soon as they are freed.
//
// The addresses given to the program are an inaccessible mapping of a file in memory, so that a
// host that reads or writes one dies of SIGSEGV; the device itself uses a second mapping of the
// file.
#pragma once

#include <c10/core/Allocator.h>

#include <cstdint>
#include <optional>

#include "current.h"

namespace fake {

// What freed and new device memory is full of.
inline constexpr unsigned char kDevicePoison = 0xDB;

// Gives memory of the current device to the current stream. As a caching allocator does, it keeps
// freed blocks for the stream that they were allocated on, and gives out the last one freed first.
[[nodiscard]] c10::Allocator& device_allocator();

// Where the device finds what the program knows by `address`.
[[nodiscard]] char* device_view(const void* address);

// The device of the block that `address` points into.
[[nodiscard]] std::optional<int> device_of_address(const void* address);

// The block at `address` is used on the stream as well: it is not given away before what is
// enqueued there by then has run (what Tensor.record_stream() says). Nothing where there is no such
// block.
void use_on_stream(const void* address, StreamIndex stream);

// Bytes asked for and not freed yet.
[[nodiscard]] std::int64_t live_device_bytes();

// The (after + 1)-th allocation from now throws c10::OutOfMemoryError, once; -1: none does.
void fail_device_allocation(std::int64_t after);

}  // namespace fake
