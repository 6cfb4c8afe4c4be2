// SourceJobs: gather jobs for arrays that come form by form.
#pragma once

#include <cstddef>

#include "copy/gather.h"
#include "plan/sources.h"

namespace tensorlift {

class SourceJobs {
 public:
  SourceJobs(const Sources& sources, GatherJobs& jobs) : sources_(sources), jobs_(jobs) {}

  // Adds one for the array at `index`, which has this form, unless it is empty.
  void add(const Sources::Form& form, std::size_t index, c10::ScalarType dtype, char* slot) {
    if (form.numel == 0) return;
    if (last_ == &form) return jobs_.repeat(sources_.data(index), slot);
    jobs_.add(sources_.view(form, index), form.numel, dtype, slot);
    last_ = &form;
  }

 private:
  const Sources& sources_;
  GatherJobs& jobs_;
  const Sources::Form* last_ = nullptr;
};

}  // namespace tensorlift
