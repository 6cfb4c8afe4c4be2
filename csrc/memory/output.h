// Output: the tensor that a batch is written to: a new one, or the caller's.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <string>

#include "plan/sources.h"

namespace tensorlift {

// Where a new tensor lies.
enum class OutputMemory {
  kPageable,  // warm memory (see block_cache.h), huge pages for much of it
  kPinned,    // from the accelerator's own allocator
};

// A new, contiguous tensor, not filled yet. Throws ValueError: no accelerator to pin for, more than
// 64 bits of bytes; c10::Error: no memory.
[[nodiscard]] at::Tensor make_output(c10::IntArrayRef shape, c10::ScalarType dtype,
                                     OutputMemory memory);

// Throws ValueError unless the caller's tensor can be written to: on this device, with memory of
// its own, no element at another's address, not needed for a gradient. `name` begins the message.
void check_writable(const at::Tensor& out, c10::Device device, const std::string& name);

// The same, and that it is of this shape, or empty; and of this dtype.
void check_out(const at::Tensor& out, c10::Device device, c10::IntArrayRef shape,
               c10::ScalarType dtype);

// Bytes of a contiguous tensor. Throws ValueError where they are more than 64 bits.
[[nodiscard]] std::size_t checked_nbytes(c10::IntArrayRef shape, c10::ScalarType dtype);

// A tensor as it was when it was checked, with its memory: what is written to once the GIL is let
// go of, when other threads may give the tensor object another shape or storage. (Resizing the
// storage itself still frees the memory.)
struct Destination {
  c10::Storage storage;
  char* data;
  c10::ScalarType dtype;
  Shape shape;
  Shape strides;  // bytes
  std::size_t numel;
  bool is_contiguous;

  [[nodiscard]] std::size_t nbytes() const { return numel * c10::elementSize(dtype); }
};
[[nodiscard]] Destination destination_of(const at::Tensor& tensor);

// May some source lie, in part, in the destination? Compares address ranges.
[[nodiscard]] bool may_overlap(const Destination& destination, const Sources& sources);

// Addresses from the first byte of the lowest element to the last of the highest one.
struct AddressRange {
  std::intptr_t begin, end;
};
[[nodiscard]] AddressRange address_range(const ArrayView& view);     // of elements, which there are
[[nodiscard]] AddressRange address_range(const at::Tensor& tensor);  // the same; plain memory

}  // namespace tensorlift
