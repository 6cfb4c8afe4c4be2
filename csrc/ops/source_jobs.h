// SourceJobs: gather jobs for arrays that come signature by signature.
#pragma once

#include <cstddef>

#include "copy/gather.h"
#include "plan/sources.h"

namespace tensorlift {

class SourceJobs {
 public:
  SourceJobs(const Sources& sources, GatherJobs& jobs) : sources_(sources), jobs_(jobs) {}

  // Adds one for the array at `index`, which has this signature, unless it is empty.
  void add(const Sources::Signature& signature, std::size_t index, c10::ScalarType dtype,
           char* slot) {
    if (signature.numel == 0) return;
    if (last_ == &signature) return jobs_.repeat(sources_.data(index), slot);
    jobs_.add(sources_.view(signature, index), signature.numel, dtype, slot);
    last_ = &signature;
  }

 private:
  const Sources& sources_;
  GatherJobs& jobs_;
  const Sources::Signature* last_ = nullptr;
};

}  // namespace tensorlift
