// segment_messages: what a process that sends a tensor over a segment tells the one that receives
// it.
#pragma once

#include <ATen/core/Tensor.h>

#include "binding/python_api.h"

namespace tensorlift {

// (storage, dtype, storage offset, shape, strides) of a plain tensor over a segment that this
// process owns, where `storage` is a number that its tensors have in common, and nobody else while
// one of them lives; None: it is no such tensor. GIL held, as for all of these.
[[nodiscard]] py::object place_in_segment(const at::Tensor& tensor);

// (owner, descriptor, ..., nbytes), which the receiver gives to accept_offer(); None where too many
// are open.
[[nodiscard]] py::object offer_segment(const at::Tensor& tensor);

// The bytes that were offered, 1-D. `descriptor` is a file descriptor of this process for them,
// which stays open; None: the owner's is looked up by its number, which needs /proc and the same
// user. Throws RuntimeError where the offer was accepted before, or the owner has ended.
[[nodiscard]] at::Tensor accept_offer(const py::tuple& offer, py::handle descriptor);

// A tensor over the bytes, where place_in_segment() said.
[[nodiscard]] at::Tensor view_of_segment(const at::Tensor& bytes, py::handle dtype,
                                         std::int64_t offset,
                                         const std::vector<std::int64_t>& shape,
                                         const std::vector<std::int64_t>& strides);

// May other processes of this user look up our file descriptors by number?
[[nodiscard]] bool can_look_up_descriptors();

}  // namespace tensorlift
