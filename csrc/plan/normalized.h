// Normalized: whether the arrays of a batch can be normalised as it is asked for. Pure.
#pragma once

#include <c10/core/ScalarType.h>

#include <memory>
#include <optional>

#include "copy/normalization.h"
#include "plan/layout.h"
#include "plan/sources.h"

namespace tensorlift {

// The dtype of a batch of such arrays: the one that is asked for, else that of torch's arithmetic,
// in which integers become torch's default dtype. Throws TypeError: it is none of real
// floating-point numbers, an array is complex (it is named), or dtypes do not promote.
[[nodiscard]] c10::ScalarType normalized_dtype(const Sources& sources,
                                               std::optional<c10::ScalarType> asked);

// Throws ValueError: there are not as many numbers as channels, the first dimension of each array.
[[nodiscard]] std::unique_ptr<const Normalization> plan_normalization(
    const Sources& sources, const NormalizeOptions& options, c10::ScalarType dtype);

}  // namespace tensorlift
