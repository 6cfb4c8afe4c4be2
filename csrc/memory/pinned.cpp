#include "memory/pinned.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/ops/empty.h>

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "dispatch_guard.h"
#include "errors.h"
#include "parallel/fork_safe_singleton.h"

namespace tensorlift {
namespace {

struct Entry {
  c10::Storage storage;
  PinnedBlock block;
};

// By address. A forked child begins with none: it cannot give pinned memory back, and leaves it
// alone.
struct Registry {
  std::mutex mutex;
  std::map<const char*, Entry> by_address;
};
ForkSafeSingleton<Registry> registry;

std::atomic<std::size_t> block_count{0};

c10::DeviceType accelerator() {
  std::string got = "none that torch can use";
  if (at::accelerator::deviceCount() > 0) {
    const c10::DeviceType type = at::getAccelerator(true).value();
    try {
      // May fail: for fake tensors torch sets a guard that counts a device where there is none.
      at::globalContext().lazyInitDevice(type);
      return type;
    } catch (const c10::Error& error) {
      got = error.what_without_backtrace();
      got = "\"" + got.substr(0, got.find('\n')) + "\"";
    }
  }
  throw ValueError("pinned memory: expected an accelerator to pin it for, got " + got +
                   ". Take pageable memory instead: pin_memory=False, numpy.empty().");
}

}  // namespace

at::Tensor make_pinned(c10::IntArrayRef shape, c10::ScalarType dtype) {
  static_cast<void>(accelerator());
  const DispatchGuard plain;
  return at::empty(shape, at::TensorOptions().dtype(dtype).pinned_memory(true));
}

void* hold_new_pinned(std::size_t nbytes) {
  const c10::DeviceType type = accelerator();
  // Of the very allocator that copies are recorded with: at::empty(pinned) may ask another one's
  // where there are two accelerators.
  c10::DataPtr pointer = at::getHostAllocator(type)->allocate(nbytes);
  auto* data = static_cast<char*>(pointer.get());
  const PinnedBlock block{data, nbytes, pointer.get_context(), type};
  c10::Storage storage(c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), nbytes, std::move(pointer), nullptr, false));
  Registry& all = registry.get();
  const std::lock_guard lock(all.mutex);
  all.by_address.emplace(data, Entry{std::move(storage), block});
  ++block_count;
  return data;
}

void release_pinned(void* block) noexcept {
  c10::Storage freed;  // after the lock
  Registry& all = registry.get();
  const std::lock_guard lock(all.mutex);
  const auto found = all.by_address.find(static_cast<char*>(block));
  if (found == all.by_address.end()) return;
  freed = std::move(found->second.storage);
  all.by_address.erase(found);
  --block_count;
}

bool has_pinned_blocks() { return block_count.load(std::memory_order_relaxed) > 0; }

std::optional<PinnedBlock> find_pinned(const void* data, std::size_t nbytes) {
  if (!has_pinned_blocks()) return std::nullopt;
  const auto* first = static_cast<const char*>(data);
  Registry& all = registry.get();
  const std::lock_guard lock(all.mutex);
  auto next = all.by_address.upper_bound(first);
  if (next == all.by_address.begin()) return std::nullopt;
  const PinnedBlock& block = (--next)->second.block;
  if (first + nbytes > block.data + block.nbytes) return std::nullopt;
  return block;
}

c10::DataPtr memory_of(const PinnedBlock& block, void* data) {
  return {data, block.context, &c10::detail::deleteNothing, c10::Device(c10::DeviceType::CPU)};
}

}  // namespace tensorlift
