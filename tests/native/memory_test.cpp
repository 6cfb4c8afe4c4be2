// What threads share of the process's memory: kept blocks, and the chunks of a list's tensors.
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "../../csrc/memory/block_cache.h"
#include "../../csrc/memory/build.h"
#include "../../csrc/memory/tensor_arena.h"
#include "check.h"
#include "engine_tests.h"
#include "threads.h"

namespace tensorlift::native {
namespace {

constexpr int kThreads = 8;

// A block that two have is written by both.
void test_kept_blocks() {
  on_threads(kThreads, [](int thread) {
    for (int round = 0; round < 400; ++round) {
      const std::size_t nbytes = kSmallestBlock + kSmallestBlock / 4 * (round % 3);
      auto* block = static_cast<unsigned char*>(allocate_block(nbytes));
      const auto mark = static_cast<unsigned char>(thread);
      std::fill_n(block, 64, mark);
      check(std::all_of(block, block + 64, [&](auto byte) { return byte == mark; }),
            "a block is one thread's alone");
      free_block(block, nbytes);
      if (round % 50 == 49) empty_block_cache();
      if (round % 20 == 19) check(cached_bytes() <= kCacheLimit, "no more is kept than the limit");
    }
  });
  empty_block_cache();
  check(cached_bytes() == 0, "all blocks are given back");
}

// Tensors of one chunk die on all threads; whoever is last frees it.
void test_chunks() {
  for (int round = 0; round < 20; ++round) {
    std::vector<std::vector<at::Tensor>> shares(kThreads);
    {
      TensorArena arena(40 * kThreads);
      for (int i = 0; i < 40 * kThreads; ++i) {
        shares[static_cast<std::size_t>(i % kThreads)].push_back(
            build_empty(arena, 16, c10::kByte, 16));
      }
    }
    on_threads(kThreads, [&](int thread) { shares[static_cast<std::size_t>(thread)].clear(); });
  }
}

}  // namespace

void test_memory() {
  test_kept_blocks();
  test_chunks();
}

}  // namespace tensorlift::native
