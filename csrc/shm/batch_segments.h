// BatchSegments: storages for the tensors of a batch, in segments of this process.
//
// A tensor that is kept keeps its segment: so a large one has a segment alone, and small ones lie
// together, with others of about their size.
#pragma once

#include <c10/core/Storage.h>

#include <cstddef>
#include <vector>

#include "memory/tensor_arena.h"

namespace tensorlift {

// A storage for each size, in the order of the sizes; an empty one where no segment is to be had,
// or no byte is asked for. GIL not needed.
[[nodiscard]] std::vector<c10::Storage> allocate_in_segments(
    TensorArena& arena, const std::vector<std::size_t>& nbytes);

}  // namespace tensorlift
