// Rows of a limited number of tokens, made of whole sequences: which sequence goes into which.
// Pure.
#pragma once

#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <vector>

namespace tensorlift {

enum class PackStrategy : std::uint8_t {
  kDecreasing,  // the longest first, each into the row with the least room that is enough
  kSequential,  // in their order; a new row where the next one does not fit
};

struct PackedRows {
  std::vector<std::int64_t> sequences;  // their indices, row after row; without empty ones
  std::vector<std::int64_t> offsets;    // [rows + 1]: where each row begins, in tokens, and the end
};

// Of rows with equal room the one that has had it longest is taken, of sequences of equal length
// the first. No length is above `max_tokens`, none negative, and their sum is within 64 bits.
[[nodiscard]] PackedRows pack_rows(c10::ArrayRef<std::int64_t> lengths, std::int64_t max_tokens,
                                   PackStrategy strategy);

}  // namespace tensorlift
