// Registered memory: host memory of others that is page-locked where it lies, as cudaHostRegister
// does it. A copy out of it that runs after it was unregistered reads poison.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fake {

// 0, or an error as CUDA's: 712 where a part of it is registered already, 2 where it is told to
// refuse. After such an error the thread's next operator on the device throws it once more.
[[nodiscard]] int register_memory(std::uintptr_t address, std::size_t nbytes);

// 0, or 713 where it is not registered. Throws in a bad fork.
[[nodiscard]] int unregister_memory(std::uintptr_t address);

// Does the address point into registered memory?
[[nodiscard]] bool is_registered(const void* address);

[[nodiscard]] std::int64_t registered_bytes();

// The (after + 1)-th registration from now is refused, once; -1: none is.
void refuse_registration(std::int64_t after);

// Throws the error of the thread's last registration that was refused, once.
void report_last_error();

}  // namespace fake
