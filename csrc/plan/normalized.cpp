#include "plan/normalized.h"

#include <c10/core/DefaultDtype.h>

#include <string>

#include "errors.h"
#include "plan/promote.h"
#include "text.h"

namespace tensorlift {
namespace {

void check_count(const Sources& sources, const char* option, std::size_t numbers) {
  if (numbers == 1) return;
  for (const auto& signature : sources.signatures()) {
    const Shape shape = sources.shape_copy(signature);
    if (shape.size() == 1 && shape[0] == 0) continue;  // pad: no elements, and no channels
    if (!shape.empty() && static_cast<std::size_t>(shape[0]) == numbers) continue;
    const std::string expected =
        shape.empty() ? " for"
                      : ", or one for each of the " + std::to_string(shape[0]) + " channels of";
    throw ValueError(std::string(option) + ": expected one number" + expected + " arrays[" +
                     std::to_string(signature.first) + "], of shape " + shape_text(shape) +
                     ", got " + std::to_string(numbers) +
                     " of them. Channels are the first dimension, unless channel_dim= says which: "
                     "-1 for (height, width, channels).");
  }
}

}  // namespace

c10::ScalarType normalized_dtype(const Sources& sources, std::optional<c10::ScalarType> asked) {
  for (const auto& signature : sources.signatures()) {
    if (!c10::isComplexType(signature.element.dtype)) continue;
    throw TypeError("arrays[" + std::to_string(signature.first) +
                    "]: expected real numbers to normalize, got " +
                    dtype_text(signature.element.dtype) +
                    ". Use array.real, or leave out scale, mean and std.");
  }
  if (asked) {
    if (c10::isFloatingType(*asked)) return *asked;
    throw TypeError("dtype: expected one of floating-point numbers with scale, mean and std, got " +
                    dtype_text(*asked) + ". Pass for instance torch.float32.");
  }
  const c10::ScalarType promoted = promoted_dtype(sources);
  return c10::isFloatingType(promoted) ? promoted : c10::get_default_dtype_as_scalartype();
}

std::unique_ptr<const Normalization> plan_normalization(const Sources& sources,
                                                        const NormalizeOptions& options,
                                                        c10::ScalarType dtype) {
  check_count(sources, "mean", options.mean.size());
  check_count(sources, "std", options.std.size());
  std::int64_t bytes = 0;
  sources.for_each_signature(
      [&](const Sources::Signature& signature, std::size_t begin, std::size_t end) {
        if (signature.element.dtype == c10::kByte)
          bytes += signature.numel * static_cast<std::int64_t>(end - begin);
      });
  return std::make_unique<const Normalization>(options, dtype, bytes);
}

}  // namespace tensorlift
