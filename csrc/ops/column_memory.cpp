#include "ops/column_memory.h"

#include <utility>

#include "binding/gil.h"
#include "binding/torch_objects.h"
#include "errors.h"
#include "memory/allocate.h"
#include "memory/build.h"
#include "memory/pinned_storages.h"
#include "shm/batch_segments.h"

namespace tensorlift {
namespace {

c10::Storage torch_shared(std::size_t nbytes) {
  c10::Storage storage = new_shared_storage(nbytes);
  const GilRelease release;
  if (!populate(storage.mutable_data(), nbytes)) {
    throw RuntimeError("shared memory: expected " + std::to_string(nbytes) +
                       " bytes for a batch, got less: it is full. Use fewer or smaller batches, or "
                       "enlarge it (/dev/shm; Docker: --shm-size).");
  }
  return storage;
}

}  // namespace

ColumnsMemory parse_columns_memory(const std::string& name) {
  if (name == "own") return ColumnsMemory::kOwn;
  if (name == "pinned") return ColumnsMemory::kPinned;
  if (name == "torch") return ColumnsMemory::kTorchShared;
  if (name == "segment") return ColumnsMemory::kSegment;
  throw InternalError("memory: expected own, pinned, torch or segment, got " + name);
}

ColumnMemory::ColumnMemory(std::size_t tensors, ColumnsMemory where)
    : arena_(tensors), where_(where) {
  planned_.reserve(tensors);
}

void ColumnMemory::plan(std::size_t nbytes) { planned_.push_back(nbytes); }

void ColumnMemory::allocate() {
  if (where_ != ColumnsMemory::kSegment && where_ != ColumnsMemory::kPinned) return;
  const GilRelease release;  // it can take long
  storages_ = where_ == ColumnsMemory::kPinned ? allocate_pinned(arena_, planned_)
                                               : allocate_in_segments(arena_, planned_);
}

at::Tensor ColumnMemory::make(std::size_t nbytes, c10::ScalarType dtype, c10::IntArrayRef shape) {
  const std::size_t index = made_++;
  if (where_ == ColumnsMemory::kOwn || nbytes == 0) {
    return build_empty(arena_, nbytes, dtype, shape);
  }
  c10::Storage storage;
  if (index < storages_.size()) storage = std::move(storages_[index]);
  if (!storage) storage = torch_shared(nbytes);
  return build_over_storage(arena_, storage, dtype, shape);
}

}  // namespace tensorlift
