// The segments of other processes that this process has mapped.
//
// To map 3 MiB costs 0.3 ms on a virtual machine, so that a mapping is kept for the next batch that
// comes in the same segment, as long as the owner lives and keeps the segment.
#pragma once

#include <c10/util/FunctionRef.h>

#include <cstddef>

#include "shm/segment_hold.h"

namespace tensorlift {

// What was offered: a hold of its own, or the one that this process has on the segment already, so
// that what is sent twice is one storage here. `open` gives a descriptor of the segment, and is
// called where it is not mapped yet. Throws RuntimeError where the offer was accepted before, is
// larger than its segment or cannot be mapped, and what `open` throws. GIL not needed, and better
// released: mapping takes long.
[[nodiscard]] SegmentHoldPtr accept_segment(const SegmentOffer& offer,
                                            c10::function_ref<FileDescriptor()> open);

// Gives back what is not held here.
void empty_received_segments();

// Bytes that are mapped, and not held here.
[[nodiscard]] std::size_t idle_received_bytes();

}  // namespace tensorlift
