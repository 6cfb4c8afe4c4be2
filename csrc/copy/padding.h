// Padding: what fills the places of a padded batch that no array fills.
#pragma once

#include <c10/core/Scalar.h>
#include <c10/core/ScalarType.h>

#include <cstdint>

#include "copy/gather.h"

namespace tensorlift {

// One number of the batch's dtype, which jobs of its own repeat: it must live until they have run.
class Padding {
 public:
  // Throws ValueError where `dtype` has no such number (an integer out of range, a finite number
  // that would become infinite); fractions of integers are cut off, as torch does it.
  Padding(const c10::Scalar& value, c10::ScalarType dtype);

  [[nodiscard]] bool is_zero() const;
  [[nodiscard]] const char* number() const { return number_; }

  // Jobs that fill a box [ndim] of slots with these strides, in bytes.
  void fill(int ndim, const std::int64_t* box, char* slot, const std::int64_t* slot_strides,
            GatherJobs& jobs) const;

 private:
  c10::ScalarType dtype_;
  alignas(16) char number_[16];
};

}  // namespace tensorlift
