// The jobs of a batch: for every array one that writes its elements to its slot, and those that
// write the padding around them.
#pragma once

#include <c10/util/ArrayRef.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "copy/gather.h"
#include "copy/normalization.h"
#include "copy/padding.h"
#include "plan/layout.h"
#include "plan/sources.h"

namespace tensorlift {

class BatchJobs {
 public:
  // For a batch at `data` with these strides, in bytes, of this dtype. `normalization`: of the
  // arrays, not of the padding; or nullptr. Borrows all but `strides`.
  BatchJobs(const Sources& sources, const Layout& layout, const Padding& padding,
            const Normalization* normalization, c10::ScalarType dtype, char* data,
            c10::IntArrayRef strides, GatherJobs& jobs)
      : sources_(sources),
        layout_(layout),
        padding_(padding),
        normalization_(normalization),
        dtype_(dtype),
        slots_(layout, data, strides),
        jobs_(jobs) {}

  // How many times all slots take turns while memory goes by: 1 where they follow each other.
  [[nodiscard]] std::int64_t rows() const { return slots_.rows(); }

  // Adds all jobs. Calls after_array() after those of each array; it returns true if it cleared
  // them.
  template <typename AfterArray>
  void add_all(AfterArray after_array) {
    sources_.for_each_signature(
        [&](const Sources::Signature& signature, std::size_t begin, std::size_t end) {
          ArrayView view = sources_.view(signature, begin);
          bool is_first = true;  // of its signature among the jobs
          for (std::size_t i = begin; i < end; ++i) {
            view.data = sources_.data(i);
            char* slot = slots_.next(view);
            if (is_first || layout_.has_padding || signature.numel == 0) {
              jobs_.add(view, signature.numel, dtype_, slot, slots_.strides(), normalization_);
              is_first = false;
            } else {
              jobs_.repeat(view.data, slot);
            }
            if (layout_.has_padding) add_padding(view);
            if (after_array()) is_first = true;
          }
        });
  }

  // Adds and runs all jobs, `at_once` at a time: `rows` rows of the slots side by side, if that is
  // more than 1. The slots of a batch that is not contiguous have no such rows.
  void run_all(std::int64_t rows, std::size_t at_once, std::optional<int> threads) {
    const auto run = [&] {
      if (rows > 1) {
        jobs_.run_side_by_side(rows, threads);
      } else {
        jobs_.run(threads);
      }
      jobs_.clear();
    };
    add_all([&] {
      if (jobs_.size() < at_once) return false;
      run();
      return true;
    });
    run();
  }

 private:
  void add_padding(const ArrayView& view) {
    slots_.for_each_padding(view, [&](int ndim, const std::int64_t* box, char* data) {
      padding_.fill(ndim, box, data, slots_.strides(), jobs_);
    });
  }

  const Sources& sources_;
  const Layout& layout_;
  const Padding& padding_;
  const Normalization* normalization_;
  const c10::ScalarType dtype_;
  Slots slots_;
  GatherJobs& jobs_;
};

}  // namespace tensorlift
