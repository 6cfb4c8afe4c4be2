// Cases: what a fuzzer does with the copy engine. Each makes sources, a target and jobs of the
// input, lets them run, and compares the target with what it works out element by element.
#pragma once

#include "bytes.h"

namespace tensorlift::native {

// Slots of any strides anywhere; in parts, in rows, or packed and sent over a packed.
void run_slots_case(Bytes& bytes);

// A batch: stacked, joined, padded or jagged, in memory or on a packed.
void run_batch_case(Bytes& bytes);

// One that is stacked or padded, and normalised on the way.
void run_normalized_case(Bytes& bytes);

}  // namespace tensorlift::native
