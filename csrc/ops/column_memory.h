// ColumnMemory: where the tensors of a batch lie.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Storage.h>

#include <cstddef>
#include <string>
#include <vector>

#include "memory/tensor_arena.h"

namespace tensorlift {

// Where tensors of the host lie.
enum class ColumnsMemory {
  kOwn,          // in pageable memory
  kPinned,       // in pinned memory: small ones together, large ones alone
  kTorchShared,  // in torch's shared memory, a file each
  kSegment,      // in segments of ours: small ones together, large ones alone
};

// "own", "pinned", "torch" or "segment".
[[nodiscard]] ColumnsMemory parse_columns_memory(const std::string& name);

// Gives out the memory for tensors: plan() for all of them, then allocate(), then make() for all,
// in the same order. GIL held; released while the system is asked for memory. Throws RuntimeError
// where there is none.
class ColumnMemory {
 public:
  ColumnMemory(std::size_t tensors, ColumnsMemory where);

  void plan(std::size_t nbytes);
  void allocate();
  // Contiguous, not filled.
  [[nodiscard]] at::Tensor make(std::size_t nbytes, c10::ScalarType dtype, c10::IntArrayRef shape);

 private:
  TensorArena arena_;
  const ColumnsMemory where_;
  std::vector<std::size_t> planned_;    // bytes
  std::vector<c10::Storage> storages_;  // shared ones; those that no segment has are empty
  std::size_t made_ = 0;
};

}  // namespace tensorlift
