// PinnedStorages: storages for the tensors of a call, in pinned memory.
//
// Pinned memory is asked for in blocks, since to ask costs; each tensor has a storage of its own in
// one, which holds the block as long as it lives, whatever data pointer torch gives it. Torch's
// host allocator knows a block by its context (see pinned.h): each storage carries that, so that
// copies from any of them are recorded.
#pragma once

#include <c10/core/Storage.h>

#include <cstddef>
#include <vector>

#include "memory/tensor_arena.h"

namespace tensorlift {

// A storage for each size, in the order of the sizes; an empty one where no byte is asked for. One
// that shares its block cannot be resized. Throws as make_pinned() does. GIL not needed.
[[nodiscard]] std::vector<c10::Storage> allocate_pinned(TensorArena& arena,
                                                        const std::vector<std::size_t>& nbytes);

}  // namespace tensorlift
