#include "memory/output.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "copy/cast.h"
#include "errors.h"
#include "memory/build.h"
#include "memory/host_memory.h"
#include "memory/pinned.h"
#include "text.h"

namespace tensorlift {
namespace {

// There are elements, and their reach is within 64 bits.
AddressRange range_of(const void* data, int ndim, const std::int64_t* shape,
                      const std::int64_t* strides, std::int64_t itemsize) {
  const auto first = reinterpret_cast<std::intptr_t>(data);
  AddressRange range{first, first + itemsize};
  for (int d = 0; d < ndim; ++d) {
    if (shape[d] == 1) continue;
    const std::int64_t reach = (shape[d] - 1) * strides[d];
    (reach < 0 ? range.begin : range.end) += reach;
  }
  return range;
}

// Is every element farther along than all elements of the dimensions inside its own? So of every
// tensor that slicing, transposing and reshaping lead to.
bool has_own_addresses(const at::Tensor& tensor) {
  std::vector<std::pair<std::int64_t, std::int64_t>> dims;  // stride, size
  for (std::int64_t d = 0; d < tensor.dim(); ++d) {
    if (tensor.size(d) == 0) return true;
    if (tensor.size(d) > 1) dims.emplace_back(tensor.stride(d), tensor.size(d));
  }
  std::sort(dims.begin(), dims.end());
  std::int64_t reach = 0;  // from the first element of the inner dimensions to their last
  for (const auto& [stride, size] : dims) {
    if (stride <= reach) return false;
    reach += (size - 1) * stride;
  }
  return true;
}

}  // namespace

std::size_t checked_nbytes(c10::IntArrayRef shape, c10::ScalarType dtype) {
  auto nbytes = static_cast<std::int64_t>(c10::elementSize(dtype));
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  for (const std::int64_t size : shape) {
    if (__builtin_mul_overflow(nbytes, size, &nbytes)) {
      throw ValueError("arrays: expected a batch within 64 bits, got shape " + shape_text(shape) +
                       ".");
    }
  }
  return static_cast<std::size_t>(nbytes);
}

at::Tensor make_output(c10::IntArrayRef shape, c10::ScalarType dtype, OutputMemory memory) {
  const std::size_t nbytes = checked_nbytes(shape, dtype);
  if (memory == OutputMemory::kPinned) return make_pinned(shape, dtype);
  TensorArena arena(1);
  return build_empty(arena, nbytes, dtype, shape);
}

namespace {

[[noreturn]] void refuse_out(const std::string& name, const std::string& expected,
                             const std::string& got, const std::string& remedy = "") {
  throw ValueError(name + ": expected " + expected + ", got " + got + "." + remedy);
}

}  // namespace

void check_writable(const at::Tensor& out, c10::Device device, const std::string& name) {
  if (!has_plain_memory(out)) {
    refuse_out(name, "a strided tensor with memory of its own",
               "one without (sparse, nested, fake, transformed, or its storage was freed)");
  }
  if (out.device() != device) {
    refuse_out(name,
               device.is_cpu() ? "a tensor in the host's memory" : "a tensor on " + device.str(),
               "one on " + out.device().str());
  }
  if (out.is_inference() && !c10::InferenceMode::is_enabled()) {
    refuse_out(name, "a tensor that may be written to",
               "an inference tensor outside of inference mode");
  }
  if (needs_gradient(out)) {
    refuse_out(name, "a tensor that needs no gradient", "one that requires grad",
               " Use torch.no_grad() or out.detach().");
  }
  if (out.is_conj() || out.is_neg() || out._is_zerotensor()) {
    refuse_out(name, "a tensor without pending conjugation or negation", "one with it",
               " Use out.resolve_conj().resolve_neg().");
  }
  if (!has_own_addresses(out)) {
    refuse_out(name, "a tensor whose dimensions do not overlap or interleave",
               "one of strides " + shape_text(out.strides()));
  }
}

void check_out(const at::Tensor& out, c10::Device device, c10::IntArrayRef shape,
               c10::ScalarType dtype) {
  check_writable(out, device, "out");
  if (out.sizes() != shape && out.numel() > 0) {
    refuse_out("out", "shape " + shape_text(shape), shape_text(out.sizes()),
               " Only an empty one is resized: leave it out to get a new tensor.");
  }
  if (out.scalar_type() != dtype) {
    refuse_out("out", "dtype " + dtype_text(dtype), dtype_text(out.scalar_type()),
               is_castable(out.scalar_type())
                   ? " Pass dtype=" + dtype_text(out.scalar_type()) + " to cast to it."
                   : "");
  }
}

Destination destination_of(const at::Tensor& tensor) {
  Shape strides;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) strides.push_back(byte_stride(tensor, d));
  return {tensor.storage(),
          static_cast<char*>(tensor.mutable_data_ptr()),
          tensor.scalar_type(),
          Shape(tensor.sizes().begin(), tensor.sizes().end()),
          strides,
          static_cast<std::size_t>(tensor.numel()),
          tensor.is_contiguous()};
}

AddressRange address_range(const ArrayView& view) {
  return range_of(view.data, view.ndim, view.shape, view.strides, view.element.itemsize);
}

AddressRange address_range(const at::Tensor& tensor) {
  Shape strides;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) strides.push_back(byte_stride(tensor, d));
  return range_of(tensor.const_data_ptr(), static_cast<int>(tensor.dim()), tensor.sizes().data(),
                  strides.data(), static_cast<std::int64_t>(tensor.itemsize()));
}

bool may_overlap(const Destination& destination, const Sources& sources) {
  if (destination.numel == 0) return false;
  const AddressRange target = range_of(
      destination.data, static_cast<int>(destination.shape.size()), destination.shape.data(),
      destination.strides.data(), static_cast<std::int64_t>(c10::elementSize(destination.dtype)));
  bool overlaps = false;
  sources.for_each([&](const ArrayView& view, std::int64_t numel) {
    if (numel == 0) return;
    const AddressRange source = address_range(view);
    overlaps |= source.begin < target.end && target.begin < source.end;
  });
  return overlaps;
}

}  // namespace tensorlift
