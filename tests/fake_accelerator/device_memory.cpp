#include "device_memory.h"

#include <c10/util/Exception.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "counters.h"
#include "failure.h"
#include "fork.h"
#include "streams.h"

namespace fake {
namespace {

constexpr std::size_t kArenaBytes = std::size_t{16} << 30;  // of addresses; pages come with use
constexpr std::size_t kAlignment = 512;

struct DeviceBlock {
  char* address;       // the program's
  std::size_t nbytes;  // a multiple of kAlignment
  StreamIndex owner;
  std::size_t requested = 0;
  std::set<StreamIndex> used_on{};  // other streams than the owner
};

class DeviceMemory {
 public:
  DeviceMemory() {
    const int file = memfd_create("fakeacc", 0);
    TORCH_CHECK(file >= 0 && ftruncate(file, kArenaBytes) == 0, "fakeacc: no file in memory");
    program_view_ = map(file, PROT_NONE);
    device_view_ = map(file, PROT_READ | PROT_WRITE);
    close(file);
  }

  DeviceBlock* allocate(std::size_t requested) {
    refuse_bad_fork();
    mark_used();
    TORCH_CHECK_WITH(OutOfMemoryError, !failure_.happens_now(), "fakeacc: out of memory");
    const std::size_t rounded = (requested + kAlignment - 1) / kAlignment * kAlignment;
    const std::size_t nbytes = std::max(rounded, kAlignment);
    const std::lock_guard lock(mutex_);
    DeviceBlock* block = take(nbytes, current_stream());
    block->requested = requested;
    live_bytes_ += static_cast<std::int64_t>(requested);
    live_.emplace(block->address, block);
    return block;
  }

  // Poisons the memory as early as any order that the program has built allows: what is enqueued on
  // the streams that are known to use it may have run by now, so it runs, and what other streams
  // have enqueued reads poison.
  void free(DeviceBlock* block) noexcept {
    if (is_in_bad_fork()) return;  // it is the parent's
    std::set<StreamIndex> users;
    {
      const std::lock_guard lock(mutex_);
      users.swap(block->used_on);
    }
    users.insert(block->owner);
    for (const StreamIndex user : users) streams().settle(user);
    const std::lock_guard lock(mutex_);
    std::memset(device_view(block->address), kDevicePoison, block->nbytes);
    live_bytes_ -= static_cast<std::int64_t>(block->requested);
    live_.erase(block->address);
    free_[{block->nbytes, block->owner}].push_back(block);
  }

  [[nodiscard]] char* device_view(const void* address) const {
    return device_view_ + (static_cast<const char*>(address) - program_view_);
  }

  std::optional<int> device_of(const void* address) {
    const std::lock_guard lock(mutex_);
    const char* wanted = static_cast<const char*>(address);
    auto next = live_.upper_bound(wanted);
    if (next == live_.begin()) return std::nullopt;
    const DeviceBlock& block = *(--next)->second;
    if (wanted >= block.address + block.nbytes) return std::nullopt;
    return fake::device_of(block.owner);
  }

  void use_on(const void* address, StreamIndex stream) {
    const std::lock_guard lock(mutex_);
    const auto found = live_.find(static_cast<const char*>(address));
    if (found != live_.end()) found->second->used_on.insert(stream);
  }

  std::int64_t live_bytes() {
    const std::lock_guard lock(mutex_);
    return live_bytes_;
  }

  void fail(std::int64_t after) { failure_.arm(after); }

 private:
  static char* map(int file, int protection) {
    void* address =
        mmap(nullptr, kArenaBytes, protection, MAP_SHARED | MAP_NORESERVE, file, /*offset=*/0);
    TORCH_CHECK(address != MAP_FAILED, "fakeacc: no addresses for device memory");
    return static_cast<char*>(address);
  }

  // A freed block of this size and stream, else a new one.
  DeviceBlock* take(std::size_t nbytes, StreamIndex owner) {
    std::vector<DeviceBlock*>& kept = free_[{nbytes, owner}];
    if (!kept.empty()) {
      count(Counter::kDeviceReuse);
      DeviceBlock* block = kept.back();
      kept.pop_back();
      return block;
    }
    TORCH_CHECK_WITH(OutOfMemoryError, used_bytes_ + nbytes <= kArenaBytes,
                     "fakeacc: out of memory");
    count(Counter::kDeviceAlloc);
    auto* block = new DeviceBlock{program_view_ + used_bytes_, nbytes, owner};
    used_bytes_ += nbytes;
    std::memset(device_view(block->address), kDevicePoison, nbytes);
    return block;
  }

  char* program_view_;
  char* device_view_;
  Failure failure_;
  std::mutex mutex_;
  std::size_t used_bytes_ = 0;  // of the arena
  std::int64_t live_bytes_ = 0;
  std::map<const char*, DeviceBlock*> live_;
  std::map<std::pair<std::size_t, StreamIndex>, std::vector<DeviceBlock*>> free_;
};

// Never destroyed: tensors may be freed while the process ends.
DeviceMemory& memory() {
  static auto* const instance = new DeviceMemory();
  return *instance;
}

void free_block(void* context) noexcept { memory().free(static_cast<DeviceBlock*>(context)); }

class DeviceAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t nbytes) override {
    DeviceBlock* block = memory().allocate(nbytes);
    return {block->address, block, &free_block, torch_device(fake::device_of(block->owner))};
  }
  [[nodiscard]] c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* target, const void* source, std::size_t nbytes) const override {
    std::memcpy(memory().device_view(target), memory().device_view(source), nbytes);
  }
};

}  // namespace

c10::Allocator& device_allocator() {
  static auto* const allocator = new DeviceAllocator();
  return *allocator;
}

char* device_view(const void* address) { return memory().device_view(address); }

std::optional<int> device_of_address(const void* address) { return memory().device_of(address); }

void use_on_stream(const void* address, StreamIndex stream) { memory().use_on(address, stream); }

std::int64_t live_device_bytes() { return memory().live_bytes(); }

void fail_device_allocation(std::int64_t after) { memory().fail(after); }

}  // namespace fake
