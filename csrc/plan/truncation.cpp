#include "plan/truncation.h"

#include <string>

#include "errors.h"
#include "plan/layout.h"
#include "text.h"

namespace tensorlift {
namespace {

[[noreturn]] void refuse(const Sources& sources, const Sources::Signature& signature, int dim,
                         const char* name, std::int64_t limit) {
  throw ValueError("arrays[" + std::to_string(signature.first) + "]: expected at most " + name +
                   "=" + std::to_string(limit) + " elements in dimension " + std::to_string(dim) +
                   ", got shape " + shape_text(sources.shape_copy(signature)) +
                   ". Pass truncate=\"right\" to drop the last ones, truncate=\"left\" the first.");
}

}  // namespace

void truncate(Sources& sources, const Truncation& truncation) {
  if (sources.size() == 0 || (truncation.is_of_first && truncation.max_length.empty())) return;
  const int ndim = padding_model(sources).ndim;
  const auto limits = static_cast<int>(truncation.max_length.size());
  if (!truncation.is_of_first && limits != ndim) {
    throw ValueError("max_length: expected an int, or one for each of the " + std::to_string(ndim) +
                     " dimensions, got " + std::to_string(limits) + " of them.");
  }
  for (std::size_t f = 0; f < sources.signatures().size(); ++f) {
    for (int d = 0; d < std::min(limits, sources.signatures()[f].ndim); ++d) {
      const Sources::Signature& signature = sources.signatures()[f];
      const std::int64_t limit = truncation.max_length[static_cast<std::size_t>(d)];
      const std::int64_t over = sources.shape(signature)[d] - limit;
      if (over <= 0) continue;
      if (truncation.side == Truncation::Side::kNone)
        refuse(sources, signature, d, truncation.name, limit);
      sources.narrow(f, d, truncation.side == Truncation::Side::kLeft ? over : 0, limit);
    }
  }
}

}  // namespace tensorlift
