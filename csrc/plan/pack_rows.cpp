#include "plan/pack_rows.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <set>
#include <utility>

namespace tensorlift {
namespace {

// The indices of those that are not empty.
std::vector<std::int64_t> filled(c10::ArrayRef<std::int64_t> lengths) {
  std::vector<std::int64_t> sequences;
  sequences.reserve(lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] > 0) sequences.push_back(static_cast<std::int64_t>(i));
  }
  return sequences;
}

std::int64_t length_of(c10::ArrayRef<std::int64_t> lengths, std::int64_t sequence) {
  return lengths[static_cast<std::size_t>(sequence)];
}

PackedRows in_their_order(c10::ArrayRef<std::int64_t> lengths, std::int64_t max_tokens) {
  PackedRows packed{filled(lengths), {0}};
  std::int64_t row = 0, total = 0;
  for (const std::int64_t sequence : packed.sequences) {
    const std::int64_t length = length_of(lengths, sequence);
    if (row > max_tokens - length) {
      packed.offsets.push_back(total);
      row = 0;
    }
    row += length;
    total += length;
  }
  if (total > 0) packed.offsets.push_back(total);
  return packed;
}

// The rows that still have room. Few of the numbers up to `max_tokens` are the room of one, so that
// these are in an ordered set: a room, when the row got it, the row.
class Rows {
 public:
  explicit Rows(std::int64_t max_tokens) : max_tokens_(max_tokens) {}

  // The row that a sequence goes into.
  std::size_t place(std::int64_t length) {
    const auto best = rooms_.lower_bound({length, 0, 0});
    if (best == rooms_.end()) {
      insert(max_tokens_ - length, rows_);
      return rows_++;
    }
    auto node = rooms_.extract(best);
    const std::size_t row = node.value().row;
    node.value() = {node.value().room - length, turn_++, row};
    if (node.value().room > 0) rooms_.insert(std::move(node));
    return row;
  }
  [[nodiscard]] std::size_t count() const { return rows_; }

 private:
  struct Room {
    std::int64_t room;
    std::size_t turn;
    std::size_t row;

    bool operator<(const Room& other) const {
      return room != other.room ? room < other.room : turn < other.turn;
    }
  };

  void insert(std::int64_t room, std::size_t row) {
    if (room > 0) rooms_.insert({room, turn_++, row});
  }

  const std::int64_t max_tokens_;
  std::set<Room> rooms_;
  std::size_t turn_ = 0;
  std::size_t rows_ = 0;
};

PackedRows decreasing(c10::ArrayRef<std::int64_t> lengths, std::int64_t max_tokens) {
  std::vector<std::int64_t> order = filled(lengths);
  std::stable_sort(order.begin(), order.end(), [lengths](std::int64_t a, std::int64_t b) {
    return length_of(lengths, a) > length_of(lengths, b);
  });
  Rows rows(max_tokens);
  std::vector<std::size_t> row_of;
  row_of.reserve(order.size());
  for (const std::int64_t sequence : order)
    row_of.push_back(rows.place(length_of(lengths, sequence)));

  // How many sequences and tokens each row has, then where each begins.
  PackedRows packed{std::vector<std::int64_t>(order.size()),
                    std::vector<std::int64_t>(rows.count() + 1)};
  std::vector<std::size_t> begins(rows.count() + 1);
  for (std::size_t i = 0; i < order.size(); ++i) {
    ++begins[row_of[i] + 1];
    packed.offsets[row_of[i] + 1] += length_of(lengths, order[i]);
  }
  std::partial_sum(begins.begin(), begins.end(), begins.begin());
  std::partial_sum(packed.offsets.begin(), packed.offsets.end(), packed.offsets.begin());
  for (std::size_t i = 0; i < order.size(); ++i) packed.sequences[begins[row_of[i]]++] = order[i];
  return packed;
}

}  // namespace

PackedRows pack_rows(c10::ArrayRef<std::int64_t> lengths, std::int64_t max_tokens,
                     PackStrategy strategy) {
  return strategy == PackStrategy::kSequential ? in_their_order(lengths, max_tokens)
                                               : decreasing(lengths, max_tokens);
}

}  // namespace tensorlift
