// BlockCache: memory that has been used before. A fresh block costs a page fault every 4 KiB, which
// is several times what it costs to fill the page; a block that was just freed costs nothing.
#pragma once

#include <c10/core/Allocator.h>

#include <cstddef>

namespace tensorlift {

// Blocks smaller than this are not worth keeping: malloc does that as well.
inline constexpr std::size_t kSmallestBlock = 8 << 10;

// How many bytes a process keeps at most in blocks that nobody uses.
inline constexpr std::size_t kCacheLimit = 64 << 20;

// At least `nbytes` bytes, aligned to 64, uninitialised; warm where a block of about that size has
// been freed before. Throws c10::Error where the memory is not to be had, as torch's allocator
// does. Any thread, with or without the GIL.
[[nodiscard]] void* allocate_block(std::size_t nbytes);

// Takes back what allocate_block(nbytes) gave. Any thread, with or without the GIL, also while the
// process ends. When the cache is full its oldest blocks go back to the system.
void free_block(void* block, std::size_t nbytes) noexcept;

// A block for a tensor's storage, which takes itself back. torch.profiler(profile_memory=True) sees
// it come and go, as it sees what torch's own allocator gives.
[[nodiscard]] c10::DataPtr allocate_storage(std::size_t nbytes);

// Gives all unused blocks back to the system.
void empty_block_cache();

// Bytes in blocks that nobody uses.
[[nodiscard]] std::size_t cached_bytes();

}  // namespace tensorlift
