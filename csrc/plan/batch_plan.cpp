#include "plan/batch_plan.h"

#include <algorithm>

#include "memory/output.h"
#include "plan/promote.h"

namespace tensorlift {

BatchPlan::BatchPlan(const Sources& all, const JoinOptions& options)
    : sources(all),
      layout(plan_layout(sources, options.layout)),
      dtype(options.dtype ? *options.dtype : promoted_dtype(sources)),
      padding(options.padding, dtype),
      nbytes(checked_nbytes(layout.shape, dtype)),
      strides_(batch_strides(sources, layout, options.memory_format)) {}

std::optional<Shape> BatchPlan::extents_shape() const {
  const auto arrays = static_cast<std::int64_t>(sources.size());
  if (layout.operation == Operation::kPad) return Shape{arrays, padding_model(sources).ndim};
  if (layout.operation == Operation::kJagged) return Shape{arrays + 1};
  return std::nullopt;
}

void BatchPlan::write_extents(std::int64_t* extents) const {
  if (layout.operation == Operation::kPad) {
    const Sources::Form& model = padding_model(sources);
    const std::int64_t* like = sources.shape(model);
    sources.for_each([&](const ArrayView& view, std::int64_t) {
      extents = std::copy(view.shape, view.shape + view.ndim, extents);
      if (view.ndim < model.ndim) extents = std::copy(like + view.ndim, like + model.ndim, extents);
    });
  } else if (layout.operation == Operation::kJagged) {
    std::int64_t offset = 0;
    *extents++ = offset;
    sources.for_each(
        [&](const ArrayView& view, std::int64_t) { *extents++ = offset += view.shape[0]; });
  }
}

}  // namespace tensorlift
