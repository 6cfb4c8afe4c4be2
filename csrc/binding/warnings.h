// Warnings that the operations give, at the caller of the Python function.
#pragma once

#include <c10/core/ScalarType.h>

#include <string>

#include "plan/sources.h"

namespace tensorlift {

// A UserWarning at the caller of the Python function that called us. GIL held.
void warn(const std::string& message);

// As torch does it when a complex number is cast to a real one.
[[nodiscard]] inline bool discards_imaginary(c10::ScalarType from, c10::ScalarType to) {
  return c10::isComplexType(from) && !c10::isComplexType(to) && to != c10::kBool;
}
[[nodiscard]] bool any_discards_imaginary(const Sources& sources, c10::ScalarType to);
void warn_discarded_imaginary();

}  // namespace tensorlift
