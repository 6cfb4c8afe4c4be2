#include "shm/batch_segments.h"

#include "memory/blocks.h"
#include "shm/segment_hold.h"
#include "shm/segment_pool.h"

namespace tensorlift {

std::vector<c10::Storage> allocate_in_segments(TensorArena& arena,
                                               const std::vector<std::size_t>& nbytes) {
  const BlockPlan plan = plan_blocks(nbytes);
  std::vector<SegmentHoldPtr> holds;
  for (const std::size_t block : plan.nbytes) holds.push_back(allocate_segment(block));
  std::vector<c10::Storage> storages(nbytes.size());
  for (std::size_t i = 0; i < nbytes.size(); ++i) {
    if (nbytes[i] == 0) continue;
    const auto [block, begin] = plan.places[i];
    if (holds[block]) storages[i] = storage_in(holds[block], arena, begin, nbytes[i]);
  }
  return storages;
}

}  // namespace tensorlift
