// Blocks: which tensors of a call lie together in one block of memory.
//
// A tensor that is kept keeps its block: so a large one lies alone, and small ones lie with others
// of about their size. Pure: counts bytes, touches none.
#pragma once

#include <cstddef>
#include <vector>

namespace tensorlift {

// From so many bytes on a tensor lies alone.
inline constexpr std::size_t kAloneFrom = 64 << 10;

struct BlockPlan {
  struct Place {
    std::size_t block;
    std::size_t begin;  // bytes
  };
  std::vector<std::size_t> nbytes;  // of each block
  std::vector<Place> places;        // of each tensor; of one without bytes: any
};

// `nbytes`: of the tensors. Each begins at a multiple of 64, as all of torch's do.
[[nodiscard]] BlockPlan plan_blocks(const std::vector<std::size_t>& nbytes);

}  // namespace tensorlift
