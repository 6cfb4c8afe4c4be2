#include "allocate.h"

#include <memory>

#include "block_cache.h"

namespace tensorlift {
namespace {

// Below this malloc's own memory is mostly warm, and a block would be a large part wasted.
constexpr std::size_t kBlockFrom = 16 << 10;

// What a storage's deleter has to know; owned by the storage.
struct OwnedBlock {
  void* memory;
  std::size_t nbytes;
};

void release_block(void* context) noexcept {
  const std::unique_ptr<OwnedBlock> owned(static_cast<OwnedBlock*>(context));
  free_block(owned->memory, owned->nbytes);
}

}  // namespace

c10::DataPtr allocate_pageable(std::size_t nbytes) {
  if (nbytes < kBlockFrom) return c10::GetAllocator(c10::DeviceType::CPU)->allocate(nbytes);
  auto owned = std::make_unique<OwnedBlock>(OwnedBlock{nullptr, nbytes});
  void* memory = owned->memory = allocate_block(nbytes);
  return {memory, owned.release(), &release_block, c10::Device(c10::DeviceType::CPU)};
}

}  // namespace tensorlift
