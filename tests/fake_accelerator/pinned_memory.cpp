#include "pinned_memory.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdlib>
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

constexpr std::size_t kPage = 4096;

struct PinnedBlock {
  char* address;
  std::size_t nbytes;
  bool is_live = true;
  std::set<StreamIndex> used_on{};    // what record_event() said
  std::vector<Mark> is_free_after{};  // set when it is freed

  void poison() const { std::memset(address, kPinnedPoison, nbytes); }
};

class PinnedMemory {
 public:
  PinnedBlock* allocate(std::size_t nbytes) {
    refuse_bad_fork();
    mark_used();
    TORCH_CHECK(!failure_.happens_now(), "fakeacc: out of pinned memory");
    const std::lock_guard lock(mutex_);
    PinnedBlock* block = take(nbytes);
    block->poison();
    live_bytes_ += static_cast<std::int64_t>(nbytes);
    return block;
  }

  void free(PinnedBlock* block) noexcept {
    if (is_in_bad_fork()) return;  // it is the parent's
    const std::lock_guard lock(mutex_);
    block->is_live = false;
    live_bytes_ -= static_cast<std::int64_t>(block->nbytes);
    if (block->used_on.empty()) {
      block->poison();
      free_.push_back(block);
      return;
    }
    for (const StreamIndex user : block->used_on) {
      block->is_free_after.push_back(streams().issued(user));
    }
    waiting_.push_back(block);
  }

  // Looks the block up as torch's CachingHostAllocatorImpl does: by the context that allocate()
  // gave, else by the block's first address. An address inside of a block is not found.
  bool record_event(const void* address, const void* context, StreamIndex stream) {
    const std::lock_guard lock(mutex_);
    PinnedBlock* block = find_by_context(context);
    if (block == nullptr) {
      const auto found = blocks_.find(static_cast<const char*>(address));
      if (found != blocks_.end()) block = found->second;
    }
    if (block == nullptr || !block->is_live) {
      count(Counter::kRecordEventMiss);
      return false;
    }
    count(Counter::kRecordEvent);
    block->used_on.insert(stream);
    return true;
  }

  bool is_pinned(const void* address) {
    if (is_in_bad_fork()) return false;
    const std::lock_guard lock(mutex_);
    const char* wanted = static_cast<const char*>(address);
    auto next = blocks_.upper_bound(wanted);
    if (next == blocks_.begin()) return false;
    const PinnedBlock& block = *(--next)->second;
    return block.is_live && wanted < block.address + block.nbytes;
  }

  std::int64_t live_bytes() {
    const std::lock_guard lock(mutex_);
    return live_bytes_;
  }

  void fail(std::int64_t after) { failure_.arm(after); }

 private:
  // The last freed block of exactly this size, else a new one.
  PinnedBlock* take(std::size_t nbytes) {
    collect();
    const auto found = std::find_if(free_.rbegin(), free_.rend(),
                                    [&](const auto* block) { return block->nbytes == nbytes; });
    if (found != free_.rend()) {
      count(Counter::kPinnedReuse);
      PinnedBlock* block = *found;
      free_.erase(std::next(found).base());
      block->is_live = true;
      block->used_on.clear();
      block->is_free_after.clear();
      return block;
    }
    count(Counter::kPinnedAlloc);
    const std::size_t pages = (nbytes + kPage - 1) / kPage * kPage;
    auto* address = static_cast<char*>(std::aligned_alloc(kPage, pages));
    TORCH_CHECK(address != nullptr, "fakeacc: out of pinned memory");
    auto* block = new PinnedBlock{address, nbytes};
    blocks_.emplace(address, block);
    return block;
  }

  // Frees the blocks whose streams have passed.
  void collect() {
    std::erase_if(waiting_, [&](PinnedBlock* block) {
      const auto has_run = [](const Mark& mark) { return streams().has_run(mark); };
      const auto& marks = block->is_free_after;
      if (!std::all_of(marks.begin(), marks.end(), has_run)) return false;
      block->poison();
      free_.push_back(block);
      return true;
    });
  }

  PinnedBlock* find_by_context(const void* context) {
    for (const auto& [address, block] : blocks_) {
      if (block == context) return block;
    }
    return nullptr;
  }

  Failure failure_;
  std::mutex mutex_;
  std::int64_t live_bytes_ = 0;
  std::map<const char*, PinnedBlock*> blocks_;  // all there ever were
  std::vector<PinnedBlock*> free_;
  std::vector<PinnedBlock*> waiting_;  // freed, and still used on a stream
};

// Never destroyed: tensors may be freed while the process ends.
PinnedMemory& memory() {
  static auto* const instance = new PinnedMemory();
  return *instance;
}

void free_block(void* context) noexcept {
  if (context != nullptr) memory().free(static_cast<PinnedBlock*>(context));
}

class PinnedAllocator final : public at::HostAllocator {
 public:
  c10::DataPtr allocate(std::size_t nbytes) override {
    if (nbytes == 0) return {nullptr, nullptr, &free_block, c10::Device(c10::kCPU)};
    PinnedBlock* block = memory().allocate(nbytes);
    return {block->address, block, &free_block, c10::Device(c10::kCPU)};
  }
  [[nodiscard]] c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* target, const void* source, std::size_t nbytes) const override {
    std::memcpy(target, source, nbytes);
  }
  bool record_event(void* address, void* context, c10::Stream stream) override {
    return memory().record_event(address, context, stream_index(stream));
  }
  void empty_cache() override {}
  at::HostStats get_stats() override { return {}; }
  void reset_accumulated_stats() override {}
  void reset_peak_stats() override {}
};

}  // namespace

at::HostAllocator& pinned_allocator() {
  static auto* const allocator = new PinnedAllocator();
  return *allocator;
}

bool is_pinned(const void* address) { return memory().is_pinned(address); }

std::int64_t live_pinned_bytes() { return memory().live_bytes(); }

void fail_pinned_allocation(std::int64_t after) { memory().fail(after); }

}  // namespace fake
