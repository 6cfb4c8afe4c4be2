#include "allocate.h"

#include "block_cache.h"

namespace tensorlift {
namespace {

// Below this malloc's own memory is mostly warm, and a block would be a large part wasted.
constexpr std::size_t kBlockFrom = 16 << 10;

}  // namespace

c10::DataPtr allocate_pageable(std::size_t nbytes) {
  if (nbytes < kBlockFrom) return c10::GetAllocator(c10::DeviceType::CPU)->allocate(nbytes);
  void* memory = allocate_block(nbytes);
  return {memory, memory, block_deleter(nbytes), c10::Device(c10::DeviceType::CPU)};
}

}  // namespace tensorlift
