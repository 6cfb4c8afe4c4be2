// Normalize options: `scale`, `mean`, `std` and `channel_order`, checked. GIL held.
#pragma once

#include "binding/python_api.h"
#include "ops/batch.h"

namespace tensorlift {

// A number or None; a number, one for each channel, or None; the same, above 0; "rgb" or "bgr".
struct NormalizeArguments {
  py::handle scale, mean, std, channel_order;
};

// Throws TypeError or ValueError that names the option.
void parse_normalize(const NormalizeArguments& arguments, BatchOptions& options);

// What was parsed, for Python: (scale or None, means, standard deviations, channel order).
[[nodiscard]] py::tuple normalize_tuple(const BatchOptions& options);

}  // namespace tensorlift
