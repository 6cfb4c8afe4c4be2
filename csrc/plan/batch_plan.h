// BatchPlan: what a batch will be, decided before anything is written. Pure.
#pragma once

#include <c10/core/MemoryFormat.h>
#include <c10/core/Scalar.h>
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "copy/normalization.h"
#include "copy/padding.h"
#include "plan/layout.h"
#include "plan/memory_format.h"
#include "plan/sources.h"
#include "plan/truncation.h"

namespace tensorlift {

// A mask that is asked for beside a padded batch.
struct MaskOptions {
  c10::ScalarType dtype;
  std::optional<Shape> dims;  // of the arrays, that the mask has as well; none: all
};

// What is asked for.
struct JoinOptions {
  LayoutOptions layout;
  std::optional<c10::ScalarType> dtype;            // none: promoted
  std::optional<c10::MemoryFormat> memory_format;  // none: as torch chooses it
  std::optional<NormalizeOptions> normalize;       // the arrays, not the padding
  c10::Scalar padding = 0;
  Truncation truncation;            // kPad; for truncate(), which comes first
  std::optional<MaskOptions> mask;  // kPad
  // kPad, kJagged: of sizes, which are int64, or of offsets, int32 or int64; none: none are wanted.
  std::optional<c10::ScalarType> sizes_dtype = c10::kLong;
};

struct Mask;

// Borrows the sources.
struct BatchPlan {
  // Throws ValueError or IndexError (see plan_layout(), Padding, batch_strides(),
  // checked_nbytes(), plan_normalization()), or TypeError: dtypes that do not promote, or that
  // cannot be normalised.
  BatchPlan(const Sources& all, const JoinOptions& options);
  ~BatchPlan();
  BatchPlan(BatchPlan&& other) = delete;

  [[nodiscard]] bool is_contiguous() const { return strides_.is_contiguous; }
  [[nodiscard]] const Shape& strides() const { return strides_.strides; }  // elements
  [[nodiscard]] std::size_t numel() const { return nbytes / c10::elementSize(dtype); }

  // Of numbers of sizes_dtype about each array: kPad: sizes [arrays, ndim]; kJagged: offsets
  // [arrays + 1], where each begins along the first dimension, and the end; else none, as where
  // none are wanted.
  [[nodiscard]] std::optional<Shape> sizes_shape() const;
  [[nodiscard]] std::size_t sizes_nbytes() const;
  void write_sizes_or_offsets(void* sizes) const;

  const Sources& sources;
  const Layout layout;
  const c10::ScalarType dtype;
  const std::unique_ptr<const Normalization> normalization;  // null where none is asked for
  const Padding padding;
  const std::size_t nbytes;
  const std::optional<c10::ScalarType> sizes_dtype;
  const std::unique_ptr<const Mask> mask;  // null where none is asked for

 private:
  const BatchStrides strides_;
};

// What says which elements of a padded batch are those of an array: a padded batch of ones, all of
// which are read from one number.
struct Mask {
  Mask(const BatchPlan& batch, const JoinOptions& options);

  const Padding one;
  const Sources ones;
  const BatchPlan plan;
};

}  // namespace tensorlift
