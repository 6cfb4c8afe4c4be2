#include "memory/block_cache.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <deque>
#include <mutex>
#include <new>
#include <utility>

#include "copy/simd.h"
#include "parallel/fork_safe_singleton.h"

namespace tensorlift {
namespace {

// Under AddressSanitizer freed memory must stay freed, or it could not tell a late use.
#if defined(TENSORLIFT_ADDRESS_SANITIZER)
constexpr std::size_t kLimit = 0;
#else
constexpr std::size_t kLimit = kCacheLimit;
#endif

// Four sizes an octave: a block is at most a quarter larger than asked for.
constexpr std::size_t kSizesPerOctave = 4;
constexpr std::size_t kSizeCount =
    kSizesPerOctave * static_cast<std::size_t>(std::bit_width(kCacheLimit / kSmallestBlock));

constexpr std::size_t size_of(std::size_t index) {
  const std::size_t octave = kSmallestBlock << index / kSizesPerOctave;
  return octave + index % kSizesPerOctave * (octave / kSizesPerOctave);
}

constexpr std::size_t rounded(std::size_t nbytes) {
  const std::size_t step = std::bit_floor(nbytes) / kSizesPerOctave;
  return (nbytes + step - 1) / step * step;
}

// Position of a rounded size among all sizes, kSmallestBlock being the first.
constexpr std::size_t size_index(std::size_t rounded_bytes) {
  const std::size_t floor = std::bit_floor(rounded_bytes);
  const auto octave = static_cast<std::size_t>(std::bit_width(floor / kSmallestBlock) - 1);
  return octave * kSizesPerOctave + (rounded_bytes - floor) / (floor / kSizesPerOctave);
}
static_assert(size_index(kSmallestBlock) == 0);
static_assert(size_index(rounded(kCacheLimit)) < kSizeCount);
static_assert(size_of(size_index(rounded(3 << 20))) == rounded(3 << 20));
static_assert(size_of(size_index(rounded(9 << 10))) == rounded(9 << 10));
static_assert(rounded(kSmallestBlock + 1) == kSmallestBlock + kSmallestBlock / kSizesPerOctave);

bool is_cacheable(std::size_t nbytes) {
  return nbytes >= kSmallestBlock && rounded(nbytes) <= kLimit;
}

class BlockCache {
 public:
  // nullptr where there is none of that size.
  void* take(std::size_t rounded_bytes) {
    const std::lock_guard lock(mutex_);
    auto& blocks = by_size_[size_index(rounded_bytes)];
    if (blocks.empty()) return nullptr;
    void* memory = blocks.back().memory;  // the one freed last: the warmest
    blocks.pop_back();
    nbytes_ -= rounded_bytes;
    return memory;
  }

  void give(void* memory, std::size_t rounded_bytes) {
    const std::lock_guard lock(mutex_);
    by_size_[size_index(rounded_bytes)].push_back({memory, rounded_bytes, ++clock_});
    nbytes_ += rounded_bytes;
    while (nbytes_ > kLimit) drop_oldest();
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    while (nbytes_ > 0) drop_oldest();
  }

  std::size_t nbytes() {
    const std::lock_guard lock(mutex_);
    return nbytes_;
  }

 private:
  struct Block {
    void* memory;
    std::size_t nbytes;
    std::uint64_t freed_at;  // in blocks freed before
  };

  void drop_oldest() {
    std::deque<Block>* oldest = nullptr;
    for (auto& blocks : by_size_) {
      if (blocks.empty()) continue;
      if (oldest == nullptr || blocks.front().freed_at < oldest->front().freed_at) oldest = &blocks;
    }
    nbytes_ -= oldest->front().nbytes;
    c10::free_cpu(oldest->front().memory);
    oldest->pop_front();
  }

  std::mutex mutex_;
  std::array<std::deque<Block>, kSizeCount> by_size_;  // the one freed first in front
  std::size_t nbytes_ = 0;
  std::uint64_t clock_ = 0;
};

ForkSafeSingleton<BlockCache> cache;

// Above this malloc maps memory for each block, whatever it has learned about sizes (glibc's
// DEFAULT_MMAP_THRESHOLD_MAX), so that the advice does not outlive the block.
constexpr std::size_t kHugePagesFrom = 32 << 20;

// Fresh memory in pages of 2 MiB instead of 4 KiB, where the system gives them on request: to copy
// 400 MB into it took 98 ms instead of 188.
void advise_huge_pages([[maybe_unused]] void* block, [[maybe_unused]] std::size_t nbytes) {
#if defined(MADV_HUGEPAGE)
  if (nbytes <= kHugePagesFrom) return;
  constexpr std::uintptr_t kHugePage = 2 << 20;
  const auto address = reinterpret_cast<std::uintptr_t>(block);
  const std::uintptr_t begin = (address + kHugePage - 1) / kHugePage * kHugePage;
  const std::uintptr_t end = (address + nbytes) / kHugePage * kHugePage;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // advice: may be refused
#endif
}

// What we keep for later must not be what is missing now.
void* allocate_or_clear(std::size_t nbytes) {
  try {
    return c10::alloc_cpu(nbytes);
  } catch (const c10::Error&) {
    cache.get().clear();
    return c10::alloc_cpu(nbytes);
  }
}

void* allocate_fresh(std::size_t nbytes) {
  void* block = allocate_or_clear(nbytes);
  advise_huge_pages(block, nbytes);
  return block;
}

void report_freed(void* block) noexcept { c10::profiledCPUMemoryReporter().Delete(block); }

void free_uncached(void* block) {
  report_freed(block);
  c10::free_cpu(block);
}

// One deleter a size, so that a tensor's storage needs no note of the size of its block.
template <std::size_t... Index>
constexpr std::array<c10::DeleterFnPtr, sizeof...(Index)> deleters(std::index_sequence<Index...>) {
  return {[](void* block) {
    report_freed(block);
    free_block(block, size_of(Index));
  }...};
}

constexpr auto kDeleters = deleters(std::make_index_sequence<kSizeCount>());

}  // namespace

void* allocate_block(std::size_t nbytes) {
  if (!is_cacheable(nbytes)) return allocate_fresh(nbytes);
  const std::size_t size = rounded(nbytes);
  void* warm = cache.get().take(size);
  return warm != nullptr ? warm : allocate_fresh(size);
}

void free_block(void* block, std::size_t nbytes) noexcept {
  if (is_cacheable(nbytes)) {
    try {
      return cache.get().give(block, rounded(nbytes));
    } catch (const std::bad_alloc&) {
      // no room to remember it: let it go
    }
  }
  c10::free_cpu(block);
}

c10::DataPtr allocate_storage(std::size_t nbytes) {
  const c10::DeleterFnPtr deleter =
      is_cacheable(nbytes) ? kDeleters[size_index(rounded(nbytes))] : &free_uncached;
  void* block = allocate_block(nbytes);
  c10::DataPtr memory(block, block, deleter, c10::Device(c10::DeviceType::CPU));
  c10::profiledCPUMemoryReporter().New(block, nbytes);
  return memory;
}

void empty_block_cache() { cache.get().clear(); }

std::size_t cached_bytes() { return cache.get().nbytes(); }

}  // namespace tensorlift
