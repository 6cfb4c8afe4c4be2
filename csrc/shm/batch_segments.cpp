#include "shm/batch_segments.h"

#include <algorithm>
#include <numeric>

#include "shm/segment_hold.h"
#include "shm/segment_pool.h"

namespace tensorlift {
namespace {

constexpr std::size_t kAlignment = 64;  // as torch aligns all of its memory

// From so many bytes on a tensor lies alone.
constexpr std::size_t kAloneFrom = 64 << 10;

// What tensors may have together, the smallest of them having `smallest` bytes. A label that is
// kept keeps two pages, where torch's keeps one; 20 tensors of 16 KiB take 5 segments.
constexpr std::size_t together(std::size_t smallest) { return (8 << 10) + 4 * smallest; }

constexpr std::size_t aligned(std::size_t nbytes) {
  return (nbytes + kAlignment - 1) / kAlignment * kAlignment;
}

using Indices = std::vector<std::size_t>;

// Those that have bytes, the smallest first.
Indices in_order(const std::vector<std::size_t>& nbytes) {
  Indices order(nbytes.size());
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [&](std::size_t i) { return nbytes[i] == 0; });
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return nbytes[a] < nbytes[b]; });
  return order;
}

}  // namespace

std::vector<c10::Storage> allocate_in_segments(ImplArena& arena,
                                               const std::vector<std::size_t>& nbytes) {
  std::vector<c10::Storage> storages(nbytes.size());
  const Indices order = in_order(nbytes);
  for (auto first = order.begin(); first != order.end();) {
    const std::size_t limit = together(nbytes[*first]);
    std::size_t total = aligned(nbytes[*first]);
    auto last = first + 1;
    for (; last != order.end() && nbytes[*last] < kAloneFrom; ++last) {
      if (total + aligned(nbytes[*last]) > limit) break;
      total += aligned(nbytes[*last]);
    }
    const SegmentHoldPtr hold = allocate_segment(total);
    std::size_t begin = 0;
    for (; first != last; ++first) {
      if (hold) storages[*first] = storage_in(hold, arena, begin, nbytes[*first]);
      begin += aligned(nbytes[*first]);
    }
  }
  return storages;
}

}  // namespace tensorlift
