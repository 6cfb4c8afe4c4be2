#include "memory/blocks.h"

#include <algorithm>
#include <numeric>

namespace tensorlift {
namespace {

constexpr std::size_t kAlignment = 64;

// What tensors may have together, the smallest of them having `smallest` bytes. A label that is
// kept keeps two pages, where torch's keeps one; 20 tensors of 16 KiB take 5 blocks.
constexpr std::size_t together(std::size_t smallest) {
  return std::max<std::size_t>(8 << 10, 4 * smallest);
}

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

BlockPlan plan_blocks(const std::vector<std::size_t>& nbytes) {
  BlockPlan plan;
  plan.places.resize(nbytes.size());
  std::size_t limit = 0;  // of the last block
  for (const std::size_t i : in_order(nbytes)) {
    const bool fits = !plan.nbytes.empty() && nbytes[i] < kAloneFrom &&
                      aligned(plan.nbytes.back()) + nbytes[i] <= limit;
    if (!fits) {
      plan.nbytes.push_back(0);
      limit = together(nbytes[i]);
    }
    std::size_t& end = plan.nbytes.back();
    plan.places[i] = {plan.nbytes.size() - 1, aligned(end)};
    end = aligned(end) + nbytes[i];
  }
  return plan;
}

}  // namespace tensorlift
