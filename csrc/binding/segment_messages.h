// segment_messages: what a process that sends a tensor over a segment tells the one that receives
// it.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/utils/pybind.h>  // c10::intrusive_ptr as a holder

#include "binding/python_api.h"
#include "shm/segment_hold.h"

namespace tensorlift {

// (segment, begin, dtype, shape) of a plain tensor over a segment whose storage, the bytes from
// `begin` on, it fills in the order of its elements; (segment, begin, dtype, shape, nbytes, storage
// offset, strides) of others. While it lives, a segment is one object for all of its tensors. None:
// it is no such tensor. GIL held, here and below.
[[nodiscard]] py::object place_in_segment(const at::Tensor& tensor);

// ((process, descriptor, ..., nbytes), file) for another process, which gives them to
// accept_offer(). `file` is a descriptor of this process, the caller's to close and to send; None
// where the receiver can look it up (`is_looked_up`: the descriptors of this process can be). What
// cannot be offered, since too many offers are open or another process owns it and hides it from
// us, is offered as a copy. Throws RuntimeError where there is no memory or file for that.
[[nodiscard]] py::tuple offer_segment(const SegmentHold& segment, bool is_looked_up);

// What was offered. `descriptor` is one of this process for it, which stays open; None: the owner's
// is looked up, which needs /proc and the same user. Throws RuntimeError where the offer was
// accepted before, the owner has ended, or it is no offer.
[[nodiscard]] SegmentHoldPtr accept_offer(py::handle offer, py::handle descriptor);

// (address, nbytes, removals, mapping) of the pages of the segment that a tensor from another
// process lies in: from its first byte to its last in use, as long as `mapping` lives, and the same
// pages as long as `removals` is the same. None: it lies in no such segment.
[[nodiscard]] py::object received_pages(const at::Tensor& tensor);

// The tensor of a segment where place_in_segment() said. Throws RuntimeError where that is no place
// in the segment.
[[nodiscard]] at::Tensor tensor_in_segment(py::handle place);

}  // namespace tensorlift
