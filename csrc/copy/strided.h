// Strided: a walk over elements that lie anywhere, in bundles of rows.
#pragma once

#include <cstdint>

#include "copy/strided_copy.h"
#include "plan/array_view.h"

namespace tensorlift {

struct Dim {
  std::int64_t size;
  std::int64_t stride;  // bytes; may be negative, zero or odd
};

// Enough for kMaxDims, and one in front so that there are always rows.
inline constexpr int kMaxWalkDims = kMaxDims + 1;

// Writes the dimensions of a walk to `dims` [kMaxWalkDims], outermost first: those of size 1 left
// out, those merged that follow on each other. `order` says which dimension comes outermost, next
// and so on. No dimension is empty. Returns how many, at least 2.
int merge_dims(int ndim, const std::int64_t* shape, const std::int64_t* strides,
               const std::uint8_t* order, std::int64_t itemsize, Dim* dims);

// Is that one run of elements next to each other?
[[nodiscard]] inline bool is_one_run(const Dim* dims, int ndim, std::int64_t itemsize) {
  return ndim == 2 && dims[0].size == 1 && dims[1].stride == itemsize;
}

// Where a walk has come to. Begins at any element.
class Walker {
 public:
  Walker(const Dim* dims, int ndim, char* first, std::int64_t first_element)
      : dims_(dims), last_(ndim - 1), position_(first) {
    for (int d = last_; d >= 0; --d) {
      index_[d] = 0;
      if (first_element == 0) continue;
      index_[d] = first_element % dims_[d].size;
      first_element /= dims_[d].size;
      position_ += index_[d] * dims_[d].stride;
    }
  }

  // The next elements, at most `count` and at least one; as many as lie in equal rows.
  [[nodiscard]] Rows next(std::int64_t count) {
    const Dim& inner = dims_[last_];
    const Dim& outer = dims_[last_ - 1];
    Rows rows{position_, inner.size, inner.stride, 1, outer.stride};
    if (index_[last_] == 0 && count >= inner.size) {
      const std::int64_t whole = count / inner.size;
      const std::int64_t left = outer.size - index_[last_ - 1];
      rows.count = whole < left ? whole : left;
      advance(last_ - 1, rows.count);
    } else {
      const std::int64_t left = inner.size - index_[last_];
      rows.columns = count < left ? count : left;
      advance(last_, rows.columns);
    }
    return rows;
  }

 private:
  // Moves `steps` forward in dimension `d`, at most to its end, which is the next one's beginning.
  void advance(int d, std::int64_t steps) {
    index_[d] += steps;
    position_ += steps * dims_[d].stride;
    for (; d > 0 && index_[d] == dims_[d].size; --d) {
      position_ += dims_[d - 1].stride - dims_[d].size * dims_[d].stride;
      index_[d] = 0;
      ++index_[d - 1];
    }
  }

  const Dim* dims_;
  int last_;
  char* position_;
  std::int64_t index_[kMaxWalkDims];  // only the first last_ + 1 are set
};

}  // namespace tensorlift
