// Pinned: page-locked host memory of the accelerator's own allocator, and the blocks of it that
// were handed out as arrays.
//
// Memory of a pinned array is known here by its address. Torch's allocator keeps a block that a
// copy reads from until the copy has run, but recognises it only by its first address or by what
// the storage carries (its "context"): a tensor over a NumPy view at an offset is silently not
// recognised. So tensors that share a pinned array carry the block's context, and copies out of it
// name the block.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>
#include <c10/core/Device.h>

#include <cstddef>
#include <optional>

namespace tensorlift {

// A tensor in pinned memory, not filled yet. Throws ValueError where there is no accelerator that
// torch can use, c10::Error where there is no memory.
[[nodiscard]] at::Tensor make_pinned(c10::IntArrayRef shape, c10::ScalarType dtype);

// A block of pinned memory, known here until release_pinned(). Throws as make_pinned() does.
[[nodiscard]] void* hold_new_pinned(std::size_t nbytes);
void release_pinned(void* block) noexcept;

// Is there any such block? One load.
[[nodiscard]] bool has_pinned_blocks();

struct PinnedBlock {
  char* data;
  std::size_t nbytes;
  void* context;
  c10::DeviceType type;  // of the accelerator that it is pinned for
};

// The block that has all of these bytes.
[[nodiscard]] std::optional<PinnedBlock> find_pinned(const void* data, std::size_t nbytes);

// For a storage over memory within the block, which somebody else holds as long as that lives.
[[nodiscard]] c10::DataPtr memory_of(const PinnedBlock& block, void* data);

}  // namespace tensorlift
