#include "plan/batch_plan.h"

#include <algorithm>

#include "errors.h"
#include "memory/output.h"
#include "plan/normalized.h"
#include "plan/promote.h"

namespace tensorlift {

namespace {

void write_sizes(const Sources& sources, std::int64_t* sizes) {
  const Sources::Signature& model = padding_model(sources);
  const std::int64_t* like = sources.shape(model);
  sources.for_each([&](const ArrayView& view, std::int64_t) {
    sizes = std::copy(view.shape, view.shape + view.ndim, sizes);
    if (view.ndim < model.ndim) sizes = std::copy(like + view.ndim, like + model.ndim, sizes);
  });
}

template <typename T>
void write_offsets(const Sources& sources, T* offsets) {
  T offset = 0;
  *offsets++ = offset;
  sources.for_each([&](const ArrayView& view, std::int64_t) {
    *offsets++ = offset += static_cast<T>(view.shape[0]);
  });
}

std::optional<c10::ScalarType> checked_sizes_dtype(const Layout& layout,
                                                   std::optional<c10::ScalarType> dtype) {
  if (layout.operation == Operation::kJagged && dtype == c10::kInt && layout.shape[0] > INT32_MAX) {
    throw ValueError("offsets_dtype: expected torch.int64 for " + std::to_string(layout.shape[0]) +
                     " rows, got torch.int32.");
  }
  return dtype;
}

// Dimensions of the arrays, counted from 0. Throws IndexError or ValueError.
Shape mask_dims(const MaskOptions& mask, std::int64_t ndim) {
  Shape dims;
  if (!mask.dims) {
    for (std::int64_t d = 0; d < ndim; ++d) dims.push_back(d);
    return dims;
  }
  for (const std::int64_t dim : *mask.dims) {
    if (dim < -ndim || dim >= ndim) {
      throw IndexError("mask_dim: expected " +
                       (ndim == 0 ? "None for 0-d arrays"
                                  : "a number from " + std::to_string(-ndim) + " to " +
                                        std::to_string(ndim - 1)) +
                       ", got " + std::to_string(dim) + ".");
    }
    const std::int64_t counted = dim < 0 ? dim + ndim : dim;
    if (std::find(dims.begin(), dims.end(), counted) != dims.end()) {
      throw ValueError("mask_dim: expected each dimension once, got " + std::to_string(dim) +
                       " again.");
    }
    dims.push_back(counted);
  }
  return dims;
}

// For each array one of the same sizes in these dimensions.
Sources repeated(const char* number, c10::ScalarType dtype, const BatchPlan& batch,
                 c10::IntArrayRef dims) {
  const std::size_t ndim = batch.layout.shape.size() - 1;
  std::vector<std::int64_t> sizes(batch.sources.size() * ndim);
  write_sizes(batch.sources, sizes.data());
  static constexpr std::int64_t kNoStrides[kMaxDims] = {};
  Shape shape(dims.size());
  ArrayView view;
  view.data = const_cast<char*>(number);  // only read
  view.shape = shape.data();
  view.strides = kNoStrides;
  view.ndim = static_cast<int>(dims.size());
  view.element = {dtype, ElementKind::kNumber, static_cast<std::uint8_t>(c10::elementSize(dtype))};
  Sources ones;
  ones.reserve(batch.sources.size());
  for (std::size_t i = 0; i < batch.sources.size(); ++i) {
    std::int64_t numel = 1;
    for (std::size_t d = 0; d < dims.size(); ++d) {
      shape[d] = sizes[i * ndim + static_cast<std::size_t>(dims[d])];
      numel *= shape[d];
    }
    ones.add(view, numel);
  }
  return ones;
}

// Of a batch of ones, whose slots are as the batch's in these dimensions.
JoinOptions mask_options(const JoinOptions& options, c10::IntArrayRef dims) {
  JoinOptions mask;
  mask.layout.operation = Operation::kPad;
  mask.layout.pad_to_multiple_of = {{}, false};
  mask.layout.pad_left = {{}, false};
  for (const std::int64_t dim : dims) {
    const auto d = static_cast<std::size_t>(dim);
    mask.layout.pad_to_multiple_of.values.push_back(options.layout.pad_to_multiple_of[d]);
    mask.layout.pad_left.values.push_back(options.layout.pad_left[d]);
  }
  mask.dtype = options.mask->dtype;
  mask.sizes_dtype.reset();
  return mask;
}

c10::ScalarType dtype_of(const Sources& sources, const JoinOptions& options) {
  if (options.normalize) return normalized_dtype(sources, options.dtype);
  return options.dtype ? *options.dtype : promoted_dtype(sources);
}

Shape dims_of_mask(const BatchPlan& batch, const JoinOptions& options) {
  return mask_dims(*options.mask, static_cast<std::int64_t>(batch.layout.shape.size()) - 1);
}

}  // namespace

Mask::Mask(const BatchPlan& batch, const JoinOptions& options)
    : one(1, options.mask->dtype),
      ones(repeated(one.number(), options.mask->dtype, batch, dims_of_mask(batch, options))),
      plan(ones, mask_options(options, dims_of_mask(batch, options))) {}

BatchPlan::BatchPlan(const Sources& all, const JoinOptions& options)
    : sources(all),
      layout(plan_layout(sources, options.layout)),
      dtype(dtype_of(sources, options)),
      normalization(options.normalize ? plan_normalization(sources, *options.normalize, dtype)
                                      : nullptr),
      padding(options.padding, dtype),
      nbytes(checked_nbytes(layout.shape, dtype)),
      sizes_dtype(checked_sizes_dtype(layout, options.sizes_dtype)),
      mask(options.mask ? std::make_unique<const Mask>(*this, options) : nullptr),
      strides_(batch_strides(sources, layout, options.memory_format)) {}

BatchPlan::~BatchPlan() = default;

std::optional<Shape> BatchPlan::sizes_shape() const {
  if (!sizes_dtype) return std::nullopt;
  const auto arrays = static_cast<std::int64_t>(sources.size());
  if (layout.operation == Operation::kPad) return Shape{arrays, padding_model(sources).ndim};
  if (layout.operation == Operation::kJagged) return Shape{arrays + 1};
  return std::nullopt;
}

std::size_t BatchPlan::sizes_nbytes() const {
  std::size_t nbytes = sizes_dtype ? c10::elementSize(*sizes_dtype) : 0;
  const std::optional<Shape> shape = sizes_shape();
  if (!shape) return 0;
  for (const std::int64_t size : *shape) nbytes *= static_cast<std::size_t>(size);
  return nbytes;
}

void BatchPlan::write_sizes_or_offsets(void* sizes) const {
  if (layout.operation == Operation::kPad) {
    write_sizes(sources, static_cast<std::int64_t*>(sizes));
  } else if (sizes_dtype == c10::kInt) {
    write_offsets(sources, static_cast<std::int32_t*>(sizes));
  } else if (layout.operation == Operation::kJagged) {
    write_offsets(sources, static_cast<std::int64_t*>(sizes));
  }
}

}  // namespace tensorlift
