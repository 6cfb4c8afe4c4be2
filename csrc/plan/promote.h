// Promote: the dtype of a batch of arrays of several dtypes.
#pragma once

#include <c10/core/ScalarType.h>

#include "plan/sources.h"

namespace tensorlift {

// What torch.stack and torch.cat would make of them (torch.promote_types, one after another).
// Throws TypeError, naming the array, where torch promotes no further. There is at least one array.
[[nodiscard]] c10::ScalarType promoted_dtype(const Sources& sources);

}  // namespace tensorlift
