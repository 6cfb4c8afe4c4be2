#include "plan/memory_format.h"

#include <ATen/TensorUtils.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "errors.h"
#include "text.h"

namespace tensorlift {
namespace {

constexpr c10::MemoryFormat kContiguous = c10::MemoryFormat::Contiguous;

Shape row_major_strides(c10::IntArrayRef shape) {
  Shape strides(shape.size());
  std::uint64_t stride = 1;  // may overflow for an empty tensor
  for (std::size_t d = shape.size(); d-- > 0;) {
    strides[d] = static_cast<std::int64_t>(stride);
    stride *= static_cast<std::uint64_t>(std::max<std::int64_t>(shape[d], 1));
  }
  return strides;
}

Shape strides_in(c10::MemoryFormat format, c10::IntArrayRef shape) {
  if (format == kContiguous) return row_major_strides(shape);
  const bool is_2d = format == c10::MemoryFormat::ChannelsLast;
  if (shape.size() != (is_2d ? 4U : 5U)) {
    throw ValueError(std::string("memory_format: expected a batch of ") + (is_2d ? "4" : "5") +
                     " dimensions for " +
                     (is_2d ? "torch.channels_last" : "torch.channels_last_3d") + ", got shape " +
                     shape_text(shape) + ".");
  }
  const auto strides =
      is_2d ? c10::get_channels_last_strides_2d(shape) : c10::get_channels_last_strides_3d(shape);
  return {strides.begin(), strides.end()};
}

// Strides in elements of the tensor that from_numpy() makes of an array with these strides, in
// bytes (see plan.cpp), whatever its byte order and alignment; nothing where torch has no such
// strides, or they lead beyond 64 bits.
std::optional<Shape> tensor_strides(c10::IntArrayRef shape, c10::IntArrayRef byte_strides,
                                    std::int64_t itemsize) {
  Shape strides(shape.size());
  std::int64_t contiguous = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    strides[d] = byte_strides[d] / itemsize;
    if (byte_strides[d] < 0 || byte_strides[d] % itemsize != 0) {
      if (shape[d] > 1) return std::nullopt;
      strides[d] = contiguous;
    }
    if (__builtin_mul_overflow(strides[d], shape[d], &contiguous)) return std::nullopt;
  }
  return strides;
}

// Tensor.suggest_memory_format() of it.
c10::MemoryFormat suggested_format(c10::IntArrayRef shape, c10::IntArrayRef byte_strides,
                                   std::int64_t itemsize) {
  const auto strides = tensor_strides(shape, byte_strides, itemsize);
  if (!strides) return kContiguous;
  if (c10::is_channels_last_strides_2d(shape, *strides)) return c10::MemoryFormat::ChannelsLast;
  if (c10::is_channels_last_strides_3d(shape, *strides)) return c10::MemoryFormat::ChannelsLast3d;
  return kContiguous;
}

// Is an array stacked along a dimension behind its own? torch joins the others along a dimension
// that they have, and gives its result another shape.
bool is_stacked_last(const Layout& layout) {
  return layout.operation == Operation::kStack &&
         static_cast<std::size_t>(layout.dim) + 1 == layout.shape.size();
}

// Of a signature's arrays, as torch joins them.
c10::MemoryFormat format_of(const Sources& sources, const Sources::Signature& signature,
                            const Layout& layout) {
  const bool is_last = is_stacked_last(layout);
  const int ndim = signature.ndim + (is_last ? 1 : 0);
  if (ndim != 4 && ndim != 5) return kContiguous;
  const ArrayView view = sources.view(signature, signature.first);
  Shape shape = shape_of(view);
  Shape strides(view.strides, view.strides + view.ndim);
  if (is_last) {
    shape.push_back(1);
    strides.push_back(view.element.itemsize);
  }
  return suggested_format(shape, strides, view.element.itemsize);
}

// The one that all arrays have.
c10::MemoryFormat common_format(const Sources& sources, const Layout& layout) {
  if (layout.operation == Operation::kPad) return kContiguous;
  const c10::MemoryFormat format = format_of(sources, sources.signatures()[0], layout);
  if (format == kContiguous) return kContiguous;
  for (const auto& signature : sources.signatures()) {
    if (format_of(sources, signature, layout) != format) return kContiguous;
  }
  return format;
}

Shape joined_strides(const Layout& layout, c10::MemoryFormat format) {
  if (layout.operation != Operation::kStack || is_stacked_last(layout)) {
    return strides_in(format, layout.shape);
  }
  Shape joined = layout.shape;
  const std::int64_t arrays = joined[static_cast<std::size_t>(layout.dim)];
  joined.erase(joined.begin() + layout.dim);
  joined[static_cast<std::size_t>(layout.dim)] *= arrays;
  const auto strides =
      at::detail::computeStride(joined, strides_in(format, joined), c10::IntArrayRef(layout.shape));
  if (!strides) throw InternalError("joined_strides: a dimension that cannot be divided");
  return {strides->begin(), strides->end()};
}

}  // namespace

BatchStrides batch_strides(const Sources& sources, const Layout& layout,
                           std::optional<c10::MemoryFormat> asked) {
  if (asked) return {strides_in(*asked, layout.shape), *asked == kContiguous};
  const c10::MemoryFormat format = common_format(sources, layout);
  if (format == kContiguous) return {row_major_strides(layout.shape), true};
  return {joined_strides(layout, format), false};
}

}  // namespace tensorlift
