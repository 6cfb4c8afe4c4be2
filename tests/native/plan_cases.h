// Plan cases: what a fuzzer does with decisions about shapes and strides. No case touches memory.
#pragma once

#include "bytes.h"

namespace tensorlift::native {

// plan_array() of an array whose extent need not fit 64 bits.
void run_plan_case(Bytes& bytes);

// plan_layout() of such arrays.
void run_layout_case(Bytes& bytes);

// pack_rows() of lengths.
void run_pack_case(Bytes& bytes);

// merge_dims(), is_contiguous() and walks over more elements than any memory has.
void run_walk_case(Bytes& bytes);

}  // namespace tensorlift::native
