// Shapes and dtypes in messages, as Python prints them.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>

#include <string>

namespace tensorlift {

// "(3, 224, 224)".
[[nodiscard]] inline std::string shape_text(c10::IntArrayRef shape) {
  std::string sizes;
  for (const std::int64_t size : shape) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  return "(" + sizes + (shape.size() == 1 ? ",)" : ")");
}

// "torch.float32".
[[nodiscard]] inline std::string dtype_text(c10::ScalarType dtype) {
  return "torch." + std::string(c10::getDtypeNames(dtype).first);
}

}  // namespace tensorlift
