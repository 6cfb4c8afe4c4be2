// segment_messages: what a process that sends a tensor over a segment tells the one that receives
// it.
#pragma once

#include <ATen/core/Tensor.h>

#include "binding/python_api.h"
#include "shm/segment_hold.h"

namespace tensorlift {

// A hold on a segment, as Python has it. GIL held, for it and all that follows.
struct HeldSegment {
  SegmentHoldPtr hold;
};

// (segment, begin, nbytes, dtype, storage offset, shape, strides) of a plain tensor over a segment.
// `segment` is a number that all tensors over the segment have in common, and no others while one
// of them lives; its storage are `nbytes` bytes from `begin` on. None: it is no such tensor.
[[nodiscard]] py::object place_in_segment(const at::Tensor& tensor);

// The segment of such a tensor.
[[nodiscard]] HeldSegment segment_of(const at::Tensor& tensor);

// ((owner, descriptor, ..., nbytes), file) for another process, which gives them to accept_offer().
// `file` is a descriptor of this process, the caller's to close and to send; None where the
// receiver can look it up (`is_looked_up`: the descriptors of this process can be). What cannot be
// offered, since too many offers are open or another process owns it and hides it from us, is
// offered as a copy. Throws RuntimeError where there is no memory or file for that.
[[nodiscard]] py::tuple offer_segment(const HeldSegment& segment, bool is_looked_up);

// What was offered. `descriptor` is one of this process for it, which stays open; None: the owner's
// is looked up, which needs /proc and the same user. Throws RuntimeError where the offer was
// accepted before, the owner has ended, or it is no offer.
[[nodiscard]] HeldSegment accept_offer(py::handle offer, py::handle descriptor);

// A tensor of the segment, where place_in_segment() said; `place` is what follows the segment
// there. Throws RuntimeError where that is no place in the segment.
[[nodiscard]] at::Tensor tensor_in_segment(py::handle segment, py::handle place);

}  // namespace tensorlift
