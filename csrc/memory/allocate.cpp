#include "memory/allocate.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>

#include "memory/block_cache.h"

namespace tensorlift {
namespace {

// Below this malloc's own memory is mostly warm, and a block would be a large part wasted.
constexpr std::size_t kBlockFrom = 16 << 10;

[[maybe_unused]] constexpr std::uintptr_t kPageBytes = 4 << 10;  // or a divisor of the real size

}  // namespace

c10::DataPtr allocate_pageable(std::size_t nbytes) {
  if (nbytes < kBlockFrom) return c10::GetAllocator(c10::DeviceType::CPU)->allocate(nbytes);
  return allocate_storage(nbytes);
}

bool populate([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t nbytes) {
#ifdef MADV_POPULATE_WRITE  // Linux 5.14
  const auto first = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t page = first / kPageBytes * kPageBytes;
  const int result =
      madvise(reinterpret_cast<void*>(page), first + nbytes - page, MADV_POPULATE_WRITE);
  return result == 0 || (errno != EFAULT && errno != ENOMEM);
#else
  return true;
#endif
}

}  // namespace tensorlift
