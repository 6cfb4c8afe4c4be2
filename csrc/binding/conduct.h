// What the conductors of all operations share: copying without the GIL, and warnings.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <string>

#include "binding/gil.h"
#include "binding/python_api.h"
#include "plan/sources.h"

namespace tensorlift {

// Calls `copy`, which copies `nbytes` and knows nothing of Python, without the GIL where that is
// much.
//
// Below the limit the GIL stays held: giving it away can cost a whole switch interval (5 ms) when
// another thread wants it, and 64 KiB are copied in a few microseconds.
inline constexpr std::size_t kReleaseGilBytes = 64 << 10;
template <typename Copy>
void without_gil(std::size_t nbytes, Copy copy) {
  if (nbytes < kReleaseGilBytes) return copy();
  const GilRelease release;
  copy();
}

// A UserWarning at the caller of the Python function that called us. GIL held.
void warn(const std::string& message);

// As torch does it when a complex number is cast to a real one.
[[nodiscard]] inline bool discards_imaginary(c10::ScalarType from, c10::ScalarType to) {
  return c10::isComplexType(from) && !c10::isComplexType(to) && to != c10::kBool;
}
[[nodiscard]] bool any_discards_imaginary(const Sources& sources, c10::ScalarType to);
void warn_discarded_imaginary();

}  // namespace tensorlift
