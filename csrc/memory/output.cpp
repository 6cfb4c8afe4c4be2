#include "memory/output.h"

#include <c10/core/InferenceMode.h>
#include <c10/util/strides.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "memory/build.h"
#include "memory/host_memory.h"
#include "memory/pinned.h"
#include "text.h"

namespace tensorlift {
namespace {

struct Range {
  std::intptr_t begin, end;
};

// Addresses from the first byte of the lowest element to the last of the highest one. There are
// elements, and their reach is within 64 bits.
Range address_range(const void* data, int ndim, const std::int64_t* shape,
                    const std::int64_t* strides, std::int64_t itemsize) {
  const auto first = reinterpret_cast<std::intptr_t>(data);
  Range range{first, first + itemsize};
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

Shape row_major_strides(c10::IntArrayRef shape) {
  Shape strides(shape.size());
  std::uint64_t stride = 1;  // may overflow for an empty tensor
  for (std::size_t d = shape.size(); d-- > 0;) {
    strides[d] = static_cast<std::int64_t>(stride);
    stride *= static_cast<std::uint64_t>(std::max<std::int64_t>(shape[d], 1));
  }
  return strides;
}

at::Tensor make_contiguous(c10::IntArrayRef shape, c10::ScalarType dtype, std::size_t nbytes,
                           OutputMemory memory) {
  if (memory == OutputMemory::kPinned) return make_pinned(shape, dtype);
  ImplArena arena(1);
  return build_empty(arena, nbytes, dtype, shape);
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

Shape output_strides(c10::IntArrayRef shape, c10::MemoryFormat format) {
  if (format == c10::MemoryFormat::Contiguous) {
    return row_major_strides(shape);
  }
  if (format == c10::MemoryFormat::ChannelsLast && shape.size() == 4) {
    const auto strides = c10::get_channels_last_strides_2d(shape);
    return {strides.begin(), strides.end()};
  }
  if (format == c10::MemoryFormat::ChannelsLast3d && shape.size() == 5) {
    const auto strides = c10::get_channels_last_strides_3d(shape);
    return {strides.begin(), strides.end()};
  }
  const bool is_2d = format == c10::MemoryFormat::ChannelsLast;
  throw ValueError(std::string("memory_format: expected a batch of ") + (is_2d ? "4" : "5") +
                   " dimensions for " + (is_2d ? "torch.channels_last" : "torch.channels_last_3d") +
                   ", got shape " + shape_text(shape) + ".");
}

at::Tensor make_output(c10::IntArrayRef shape, c10::ScalarType dtype,
                       c10::MemoryFormat memory_format, OutputMemory memory) {
  const std::size_t nbytes = checked_nbytes(shape, dtype);
  Shape strides;
  const bool is_contiguous = memory_format == c10::MemoryFormat::Contiguous;
  if (!is_contiguous) strides = output_strides(shape, memory_format);
  at::Tensor tensor = make_contiguous(shape, dtype, nbytes, memory);
  if (!is_contiguous) tensor.unsafeGetTensorImpl()->set_sizes_and_strides(shape, strides);
  return tensor;
}

void check_out(const at::Tensor& out, c10::IntArrayRef shape, c10::ScalarType dtype) {
  const auto refuse = [](const std::string& expected, const std::string& got,
                         const std::string& remedy) {
    throw ValueError("out: expected " + expected + ", got " + got + "." + remedy);
  };
  if (!has_plain_memory(out)) {
    refuse("a strided tensor with memory of its own",
           "one without (sparse, nested, fake, transformed, or its storage was freed)", "");
  }
  if (!out.device().is_cpu()) {
    refuse("a tensor in the host's memory", "one on " + out.device().str(), "");
  }
  if (out.sizes() != shape) {
    refuse("shape " + shape_text(shape), shape_text(out.sizes()),
           " It is not resized: leave it out to get a new tensor.");
  }
  if (out.scalar_type() != dtype) {
    refuse("dtype " + dtype_text(dtype), dtype_text(out.scalar_type()),
           " Pass dtype=" + dtype_text(out.scalar_type()) + " to cast to it.");
  }
  if (out.is_inference() && !c10::InferenceMode::is_enabled()) {
    refuse("a tensor that may be written to", "an inference tensor outside of inference mode", "");
  }
  if (needs_gradient(out)) {
    refuse("a tensor that needs no gradient", "one that requires grad",
           " Use torch.no_grad() or out.detach().");
  }
  if (out.is_conj() || out.is_neg() || out._is_zerotensor()) {
    refuse("a tensor without pending conjugation or negation", "one with it",
           " Use out.resolve_conj().resolve_neg().");
  }
  if (!has_own_addresses(out)) {
    refuse("a tensor whose dimensions do not overlap or interleave",
           "one of strides " + shape_text(out.strides()), "");
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

bool may_overlap(const Destination& destination, const Sources& sources) {
  if (destination.numel == 0) return false;
  const Range target = address_range(
      destination.data, static_cast<int>(destination.shape.size()), destination.shape.data(),
      destination.strides.data(), static_cast<std::int64_t>(c10::elementSize(destination.dtype)));
  bool overlaps = false;
  sources.for_each([&](const ArrayView& view, std::int64_t numel) {
    if (numel == 0) return;
    const Range source =
        address_range(view.data, view.ndim, view.shape, view.strides, view.element.itemsize);
    overlaps |= source.begin < target.end && target.begin < source.end;
  });
  return overlaps;
}

}  // namespace tensorlift
