// Allocate: memory for the elements of a tensor of ours.
#pragma once

#include <c10/core/Allocator.h>

#include <cstddef>

namespace tensorlift {

// Pageable memory, aligned to 64 bytes, uninitialised: a warm block for large tensors, torch's own
// CPU allocator for small ones. The memory goes back when the storage dies, on whatever thread.
// Throws c10::Error where it is not to be had. GIL not needed.
[[nodiscard]] c10::DataPtr allocate_pageable(std::size_t nbytes);

// Has the system put pages behind memory that is about to be written, all at once: half the time of
// a fault for each. False where it has none to give, which would end the process at the first write
// (shared memory whose file system is full); true also where it cannot be asked.
[[nodiscard]] bool populate(void* memory, std::size_t nbytes);

}  // namespace tensorlift
