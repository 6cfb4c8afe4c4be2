#include "plan/sources.h"

#include <algorithm>

namespace tensorlift {

Sources Sources::in_order(c10::ArrayRef<std::int64_t> indices) const {
  std::vector<const Signature*> form_of(size());
  for_each_signature([&](const Signature& signature, std::size_t begin, std::size_t end) {
    std::fill(form_of.begin() + static_cast<std::ptrdiff_t>(begin),
              form_of.begin() + static_cast<std::ptrdiff_t>(end), &signature);
  });
  Sources ordered;
  ordered.reserve(indices.size());
  for (const std::int64_t signed_index : indices) {
    const auto index = static_cast<std::size_t>(signed_index);
    ordered.add(view(*form_of[index], index), form_of[index]->numel);
  }
  return ordered;
}

void Sources::narrow(std::size_t signature, int dim, std::int64_t begin, std::int64_t size) {
  Signature& narrowed = signatures_[signature];
  std::int64_t* shape = layouts_.data() + narrowed.layout;
  const std::int64_t stride = shape[narrowed.ndim + dim];
  const std::size_t end =
      signature + 1 < signatures_.size() ? signatures_[signature + 1].first : data_.size();
  for (std::size_t i = narrowed.first; i < end; ++i) data_[i] += begin * stride;
  shape[dim] = size;
  if (narrowed.numel == 0) return;  // whose other sizes may be anything
  narrowed.numel = 1;
  for (int d = 0; d < narrowed.ndim; ++d) narrowed.numel *= shape[d];
}

}  // namespace tensorlift
