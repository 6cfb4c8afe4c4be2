// The caller's tensors that columns are written to, on their way into a gather and out of it.
#pragma once

#include "ops/columns.h"

namespace tensorlift {

// Throws ValueError where two of the caller's tensors may share memory: address ranges are
// compared. GIL held, here and below.
void check_out_apart(const Columns& columns);

// The same; and makes them what the columns are written to, but for those that cannot be written to
// at once: where something that is read may lie in one, in part.
void use_out(const Columns& columns);

// Copies what was written elsewhere to where it belongs, and tells torch of what was written. The
// GIL is released while much is copied.
void finish_out(const Columns& columns, std::optional<int> threads);

}  // namespace tensorlift
