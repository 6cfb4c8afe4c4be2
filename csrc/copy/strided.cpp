#include "copy/strided.h"

namespace tensorlift {
namespace {

// Does one step of `outer` lead from the end of `inner` to where it would go on?
bool continues(const Dim& outer, const Dim& inner) {
  std::int64_t whole = 0;
  return !__builtin_mul_overflow(inner.size, inner.stride, &whole) && outer.stride == whole;
}

}  // namespace

int merge_dims(int ndim, const std::int64_t* shape, const std::int64_t* strides,
               const std::uint8_t* order, std::int64_t itemsize, Dim* dims) {
  dims[0] = {1, 0};  // so that there are always rows
  int count = 1;
  for (int i = 0; i < ndim; ++i) {
    const Dim dim{shape[order[i]], strides[order[i]]};
    if (dim.size == 1) continue;
    if (count > 1 && continues(dims[count - 1], dim)) {
      dims[count - 1] = {dims[count - 1].size * dim.size, dim.stride};
    } else {
      dims[count++] = dim;
    }
  }
  if (count == 1) dims[count++] = {1, itemsize};  // a single element
  return count;
}

}  // namespace tensorlift
