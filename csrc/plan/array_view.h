// What the inspector found out about one array: the only thing that the later stages know of it.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/SmallVector.h>

#include <cstdint>

namespace tensorlift {

// NumPy 2 allows 64 dimensions, NumPy 1 allows 32; neither allows more.
inline constexpr int kMaxDims = 64;

// Can the elements be torch's?
enum class ElementKind : std::uint8_t {
  kNumber,       // the same bits mean the same number in `dtype`
  kDatetime,     // 64-bit counts (datetime64, timedelta64): int64 only when asked for
  kUnsupported,  // object, str, structured, longdouble, ...
};

struct ElementType {
  c10::ScalarType dtype = c10::ScalarType::Undefined;  // defined for kNumber and kDatetime
  ElementKind kind = ElementKind::kUnsupported;
  // Of that dtype, in bytes; a power of 2. Also its alignment: c10::complex is aligned to its whole
  // size, unlike NumPy's, and torch's kernels rely on it.
  std::uint8_t itemsize = 0;
};

// What kind of Python object holds the elements.
enum class SourceKind : std::uint8_t {
  kArray,        // numpy.ndarray, subclasses included
  kScalar,       // numpy.generic, read as a 0-d array; its memory cannot be shared
  kMaskedArray,  // numpy.ma.MaskedArray with at least one element masked
  kOther,        // no array at all: every other field is meaningless
};

// Borrows `shape` and `strides` from the array. They are valid while the GIL is held and no Python
// code runs (a GIL release, an allocation of a Python object or a decref may run some): use them
// up, or copy them, before that.
struct ArrayView {
  void* data = nullptr;
  const std::int64_t* shape = nullptr;    // [ndim]
  const std::int64_t* strides = nullptr;  // [ndim], in bytes; may be negative, zero or odd
  int ndim = 0;                           // at most kMaxDims
  ElementType element;
  SourceKind source_kind = SourceKind::kOther;
  bool swapped = false;  // foreign byte order
  bool writeable = true;
};

// Do the elements follow each other in C order, strides that mean nothing aside?
[[nodiscard]] inline bool is_contiguous(int ndim, const std::int64_t* shape,
                                        const std::int64_t* strides, std::int64_t itemsize) {
  auto contiguous = static_cast<std::uint64_t>(itemsize);  // may overflow for an empty array
  for (int d = ndim - 1; d >= 0; --d) {
    if (shape[d] == 1) continue;
    if (static_cast<std::uint64_t>(strides[d]) != contiguous) return false;
    contiguous *= static_cast<std::uint64_t>(shape[d]);
  }
  return true;
}

// A copy of the shape, for whoever is going to run Python code.
using Shape = c10::SmallVector<std::int64_t, 8>;
inline Shape shape_of(const ArrayView& view) { return {view.shape, view.shape + view.ndim}; }

}  // namespace tensorlift
