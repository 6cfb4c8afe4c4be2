// Truncation: what is left of arrays that are longer than a batch may be. Pure.
#pragma once

#include <cstdint>

#include "plan/array_view.h"
#include "plan/sources.h"

namespace tensorlift {

struct Truncation {
  enum class Side : std::uint8_t { kNone, kRight, kLeft };  // where elements are dropped

  Shape max_length;  // one for each dimension of the arrays, or for the first; empty: no limit
  bool is_of_first = true;          // dimension alone
  Side side = Side::kNone;          // then longer arrays are refused
  const char* name = "max_length";  // of the option
};
inline constexpr std::int64_t kNoLimit = INT64_MAX;

// Throws ValueError: an array is longer and nothing may be dropped (it is named), or there are not
// as many limits as dimensions.
void truncate(Sources& sources, const Truncation& truncation);

}  // namespace tensorlift
