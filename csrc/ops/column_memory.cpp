#include "ops/column_memory.h"

#include <cstring>
#include <limits>
#include <utility>

#include "binding/gil.h"
#include "binding/torch_objects.h"
#include "copy/gather.h"
#include "device/staging.h"
#include "errors.h"
#include "memory/allocate.h"
#include "memory/build.h"
#include "memory/pinned.h"
#include "shm/batch_segments.h"

namespace tensorlift {
namespace {

at::Tensor pinned(c10::IntArrayRef shape, c10::ScalarType dtype) {
  const GilRelease release;  // it can take long
  return make_pinned(shape, dtype);
}

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
    : arena_(tensors),
      where_(where),
      own_from_(where == ColumnsMemory::kPinned ? staging_settings().own_storage_bytes
                                                : std::numeric_limits<std::size_t>::max()) {
  planned_.reserve(tensors);
}

void ColumnMemory::plan(std::size_t nbytes) { planned_.push_back(nbytes); }

void ColumnMemory::allocate() {
  if (where_ == ColumnsMemory::kSegment) {
    const GilRelease release;
    storages_ = allocate_in_segments(arena_, planned_);
  }
  if (where_ != ColumnsMemory::kPinned) return;
  std::size_t total = 0;
  for (const std::size_t nbytes : planned_) {
    if (nbytes < own_from_) total += slot_aligned(nbytes);
  }
  if (total > 0) block_ = pinned({static_cast<std::int64_t>(total)}, c10::kByte);
}

at::Tensor ColumnMemory::make(std::size_t nbytes, c10::ScalarType dtype, c10::IntArrayRef shape) {
  const std::size_t index = made_++;
  const bool is_shared = where_ == ColumnsMemory::kSegment || where_ == ColumnsMemory::kTorchShared;
  if (is_shared && nbytes > 0) {
    c10::Storage storage;
    if (index < storages_.size()) storage = std::move(storages_[index]);
    if (!storage) storage = torch_shared(nbytes);
    return build_over_storage(arena_, storage, dtype, shape);
  }
  if (where_ == ColumnsMemory::kPinned) return make_pinned_view(nbytes, dtype, shape);
  return build_empty(arena_, nbytes, dtype, shape);
}

// What is left to the next tensor is cleared: others get to see it.
at::Tensor ColumnMemory::make_pinned_view(std::size_t nbytes, c10::ScalarType dtype,
                                          c10::IntArrayRef shape) {
  if (nbytes >= own_from_) return pinned(shape, dtype);
  if (!block_.defined()) return build_empty(arena_, nbytes, dtype, shape);
  at::Tensor tensor = build_view(arena_, block_, dtype, offset_, shape);
  const std::size_t end = offset_ + nbytes;
  offset_ = slot_aligned(end);
  std::memset(static_cast<char*>(block_.mutable_data_ptr()) + end, 0, offset_ - end);
  return tensor;
}

}  // namespace tensorlift
