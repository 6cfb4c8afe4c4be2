// Pinned memory: host memory that is poisoned and used again the moment it is freed, unless
// record_event() has named a stream that may still read or write it.
#pragma once

#include <ATen/core/CachingHostAllocator.h>

#include <cstdint>

namespace fake {

// What freed and new pinned memory is full of.
inline constexpr unsigned char kPinnedPoison = 0xEE;

[[nodiscard]] at::HostAllocator& pinned_allocator();

// Does the address point into a block that was not freed? False in a bad fork.
[[nodiscard]] bool is_pinned(const void* address);

// Bytes asked for and not freed yet.
[[nodiscard]] std::int64_t live_pinned_bytes();

// The (after + 1)-th allocation from now throws c10::Error, once; -1: none does.
void fail_pinned_allocation(std::int64_t after);

}  // namespace fake
