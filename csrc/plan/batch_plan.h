// BatchPlan: what a batch will be, decided before anything is written. Pure.
#pragma once

#include <c10/core/MemoryFormat.h>
#include <c10/core/Scalar.h>
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "copy/padding.h"
#include "plan/layout.h"
#include "plan/memory_format.h"
#include "plan/sources.h"

namespace tensorlift {

// What is asked for.
struct JoinOptions {
  LayoutOptions layout;
  std::optional<c10::ScalarType> dtype;            // none: promoted
  std::optional<c10::MemoryFormat> memory_format;  // none: as torch chooses it
  c10::Scalar padding = 0;
};

// Borrows the sources.
struct BatchPlan {
  // Throws ValueError or IndexError (see plan_layout(), Padding, batch_strides(),
  // checked_nbytes()), or TypeError: dtypes that do not promote.
  BatchPlan(const Sources& all, const JoinOptions& options);

  [[nodiscard]] bool is_contiguous() const { return strides_.is_contiguous; }
  [[nodiscard]] const Shape& strides() const { return strides_.strides; }  // elements
  [[nodiscard]] std::size_t numel() const { return nbytes / c10::elementSize(dtype); }

  // Of int64 numbers about each array: kPad: sizes [arrays, ndim]; kJagged: offsets [arrays + 1],
  // where each begins along the first dimension, and the end; else none.
  [[nodiscard]] std::optional<Shape> extents_shape() const;
  void write_extents(std::int64_t* extents) const;

  const Sources& sources;
  const Layout layout;
  const c10::ScalarType dtype;
  const Padding padding;
  const std::size_t nbytes;

 private:
  const BatchStrides strides_;
};

}  // namespace tensorlift
