// pack_rows() against rows that are looked through one by one.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "../../csrc/plan/pack_rows.h"
#include "check.h"
#include "plan_cases.h"

namespace tensorlift::native {
namespace {

struct Row {
  std::vector<std::int64_t> sequences;
  std::int64_t room;
  std::size_t turn;  // when it got this room
};

// Lengths of no more than `max_tokens`, whose sum is within 64 bits.
std::vector<std::int64_t> some_lengths(Bytes& bytes, std::int64_t max_tokens) {
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(bytes.below(60)));
  for (std::int64_t& length : lengths) {
    const std::int64_t longest = std::min<std::int64_t>(max_tokens, 200);
    length = bytes.below(longest + 1);
    if (bytes.once_in(16)) length = max_tokens - std::min(length, max_tokens);
  }
  return lengths;
}

void add(std::vector<Row>& rows, std::size_t row, std::int64_t sequence, std::int64_t length,
         std::size_t turn) {
  rows[row].sequences.push_back(sequence);
  rows[row].room -= length;
  rows[row].turn = turn;
}

std::vector<Row> expected_rows(const std::vector<std::int64_t>& lengths, std::int64_t max_tokens,
                               PackStrategy strategy) {
  std::vector<std::int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto length_of = [&](std::int64_t i) { return lengths[static_cast<std::size_t>(i)]; };
  if (strategy == PackStrategy::kDecreasing) {
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return length_of(a) > length_of(b); });
  }
  std::vector<Row> rows;
  std::size_t turn = 0;
  for (const std::int64_t sequence : order) {
    const std::int64_t length = length_of(sequence);
    if (length == 0) continue;
    std::size_t best = rows.size();
    for (std::size_t r = 0; r < rows.size(); ++r) {
      if (rows[r].room < length) continue;
      const bool is_last = r + 1 == rows.size();
      if (strategy == PackStrategy::kSequential) {
        if (is_last) best = r;
      } else if (best == rows.size() || rows[r].room < rows[best].room ||
                 (rows[r].room == rows[best].room && rows[r].turn < rows[best].turn)) {
        best = r;
      }
    }
    if (best == rows.size()) rows.push_back({{}, max_tokens, 0});
    add(rows, best, sequence, length, turn++);
  }
  return rows;
}

}  // namespace

void run_pack_case(Bytes& bytes) {
  const bool is_large = bytes.once_in(4);
  const std::int64_t max_tokens = is_large ? INT64_MAX / 64 : 1 + bytes.below(300);
  const auto strategy = bytes.flag() ? PackStrategy::kSequential : PackStrategy::kDecreasing;
  const std::vector<std::int64_t> lengths = some_lengths(bytes, max_tokens);
  const PackedRows packed = pack_rows(lengths, max_tokens, strategy);
  const std::vector<Row> rows = expected_rows(lengths, max_tokens, strategy);

  check(packed.offsets.size() == rows.size() + 1, "as many rows");
  check(packed.offsets[0] == 0, "the first row begins at 0");
  auto next = packed.sequences.begin();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    check(packed.offsets[r + 1] - packed.offsets[r] == max_tokens - rows[r].room, "its tokens");
    for (const std::int64_t sequence : rows[r].sequences) {
      check(next != packed.sequences.end() && *next++ == sequence, "its sequences");
    }
  }
  check(next == packed.sequences.end(), "no more sequences");
}

}  // namespace tensorlift::native
