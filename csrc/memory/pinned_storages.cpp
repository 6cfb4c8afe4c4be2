#include "memory/pinned_storages.h"

#include <cstdint>
#include <utility>

#include "memory/blocks.h"
#include "memory/build.h"
#include "memory/pinned.h"

namespace tensorlift {
namespace {

using StoragePtr = c10::intrusive_ptr<c10::StorageImpl>;

const c10::Device kCpu(c10::DeviceType::CPU);

void release_block(void* block) noexcept {
  static_cast<void>(StoragePtr::reclaim(static_cast<c10::StorageImpl*>(block)));
}

c10::Storage part_of(const c10::Storage& block, TensorArena& arena, std::size_t begin,
                     std::size_t nbytes) {
  auto* data = static_cast<char*>(block.mutable_data()) + begin;
  c10::DataPtr memory(data, block.data_ptr().get_context(), &c10::detail::deleteNothing, kCpu);
  c10::DataPtr hold(nullptr, c10::Storage(block).unsafeReleaseStorageImpl(), &release_block, kCpu);
  return make_owning_storage(arena, nbytes, std::move(memory), std::move(hold));
}

}  // namespace

std::vector<c10::Storage> allocate_pinned(TensorArena& arena,
                                          const std::vector<std::size_t>& nbytes) {
  const BlockPlan plan = plan_blocks(nbytes);
  std::vector<c10::Storage> blocks;
  for (const std::size_t block : plan.nbytes) {
    blocks.push_back(make_pinned({static_cast<std::int64_t>(block)}, c10::kByte).storage());
  }
  std::vector<c10::Storage> storages(nbytes.size());
  for (std::size_t i = 0; i < nbytes.size(); ++i) {
    if (nbytes[i] == 0) continue;
    const auto [block, begin] = plan.places[i];
    const bool is_alone = plan.nbytes[block] == nbytes[i];
    storages[i] = is_alone ? blocks[block] : part_of(blocks[block], arena, begin, nbytes[i]);
  }
  return storages;
}

}  // namespace tensorlift
