// Straight copy: small arrays that are alike and already lie as they shall lie, one after another.
#pragma once

#include <c10/core/ScalarType.h>

#include "plan/layout.h"
#include "plan/sources.h"

namespace tensorlift {

// Does a contiguous batch of this dtype take no more than a memcpy for each array, and no more than
// one thread? Per array this takes a fifth of the instructions of a job of GatherJobs.
[[nodiscard]] bool is_straight(const Sources& sources, const Layout& layout, c10::ScalarType dtype);

// Writes such a batch at `data`.
void copy_straight(const Sources& sources, char* data);

}  // namespace tensorlift
