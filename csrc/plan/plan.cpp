#include "plan/plan.h"

#include <bit>

namespace tensorlift {
namespace {

bool has_elements(const ArrayView& view) {
  bool empty = false;
  for (int d = 0; d < view.ndim; ++d) empty |= view.shape[d] == 0;
  return !empty;
}

bool is_aligned(const ArrayView& view) {
  const auto address = reinterpret_cast<std::uintptr_t>(view.data);
  return (address & (view.element.itemsize - 1U)) == 0;
}

// Do all elements lie within 64 bits of each other? Then no later sum over strides overflows.
bool reach_overflows(const ArrayView& view) {
  std::int64_t reach = view.element.itemsize;  // bytes from the first to the end of the farthest
  bool overflow = false;
  for (int d = 0; d < view.ndim; ++d) {
    const std::int64_t stride = view.strides[d];
    std::int64_t steps = 0;
    const std::int64_t negative = stride < 0 ? 1 - view.shape[d] : view.shape[d] - 1;
    overflow |= __builtin_mul_overflow(negative, stride, &steps);
    overflow |= __builtin_add_overflow(reach, steps, &reach);
  }
  return overflow;
}

// Translates byte strides to element strides, where torch can express them, and measures the
// storage.
//
// The stride of a dimension of size 1, and every stride of an empty array, moves nothing: such a
// stride is kept where torch could have it (torch.from_numpy keeps it) and else replaced by that of
// a contiguous layout, so that it never forces a copy.
//
// Returns kShareable, kNegativeStride or kOddStride.
Reason share_strides(const ArrayView& view, bool empty, Plan& plan) {
  const int shift = std::countr_zero(view.element.itemsize);
  const std::int64_t odd_bits = std::int64_t{view.element.itemsize} - 1;
  std::int64_t last_element = 0;  // distance of the farthest element from the first, in elements
  std::int64_t contiguous = 1;    // the stride that a contiguous dimension d would have
  for (int d = view.ndim - 1; d >= 0; --d) {
    const std::int64_t size = view.shape[d];
    const std::int64_t byte_stride = view.strides[d];
    std::int64_t stride = byte_stride >> shift;
    if (byte_stride < 0 || (byte_stride & odd_bits) != 0) [[unlikely]] {
      if (size > 1 && !empty) {
        return byte_stride < 0 ? Reason::kNegativeStride : Reason::kOddStride;
      }
      stride = contiguous;
    }
    plan.strides[d] = stride;
    if (!empty) last_element += (size - 1) * stride;
    if (__builtin_mul_overflow(stride, size > 1 ? size : 1, &contiguous)) contiguous = 1;
  }
  plan.nbytes = empty ? 0 : static_cast<std::size_t>(last_element + 1) << shift;
  return Reason::kShareable;
}

// share_strides() for the most frequent case, in one loop: there are elements, they follow each
// other in C order, and the bytes of all of them fit 64 bits. False for any other.
bool share_contiguous(const ArrayView& view, Plan& plan) {
  const int shift = std::countr_zero(view.element.itemsize);
  std::int64_t contiguous = view.element.itemsize;
  for (int d = view.ndim - 1; d >= 0; --d) {
    if (view.strides[d] != contiguous || view.shape[d] == 0) return false;
    plan.strides[d] = contiguous >> shift;
    if (__builtin_mul_overflow(contiguous, view.shape[d], &contiguous)) return false;
  }
  plan.nbytes = static_cast<std::size_t>(contiguous);
  return true;
}

// Why the elements cannot stay where they are, or kShareable.
Reason layout_reason(const ArrayView& view, Plan& plan) {
  if (view.source_kind == SourceKind::kArray && !view.swapped && share_contiguous(view, plan)) {
    return is_aligned(view) ? Reason::kShareable : Reason::kMisaligned;
  }
  const bool empty = !has_elements(view);
  if (!empty && reach_overflows(view)) return Reason::kStrideOverflow;
  if (view.source_kind == SourceKind::kScalar) return Reason::kScalar;
  if (view.swapped) return Reason::kByteOrder;
  const Reason strides = share_strides(view, empty, plan);
  if (strides != Reason::kShareable) return strides;
  if (!empty && !is_aligned(view)) return Reason::kMisaligned;
  return Reason::kShareable;
}

Reason copy_reason(const ArrayView& view, const ConvertOptions& options, Plan& plan) {
  const Reason layout = layout_reason(view, plan);
  if (layout != Reason::kShareable) return layout;
  if (plan.dtype != view.element.dtype) return Reason::kCast;
  if (!view.writeable && options.readonly == ReadonlyPolicy::kCopy) return Reason::kReadonlyCopy;
  if (options.copy == CopyPolicy::kAlways) return Reason::kCopyRequested;
  return Reason::kShareable;
}

void reject(Plan& plan, Reason reason) {
  plan.action = Action::kReject;
  plan.reason = reason;
  plan.copy_refused = false;
  plan.dtype = c10::ScalarType::Undefined;
}

// The contiguous result's size; false where it does not fit 64 bits.
bool size_of_copy(const ArrayView& view, Plan& plan) {
  plan.numel = 1;
  plan.nbytes = 0;
  if (!has_elements(view)) {
    plan.numel = 0;
    return true;
  }
  for (int d = 0; d < view.ndim; ++d) {
    if (__builtin_mul_overflow(plan.numel, view.shape[d], &plan.numel)) return false;
  }
  std::int64_t nbytes = 0;
  const auto itemsize = static_cast<std::int64_t>(c10::elementSize(plan.dtype));
  if (__builtin_mul_overflow(plan.numel, itemsize, &nbytes)) return false;
  plan.nbytes = static_cast<std::size_t>(nbytes);
  return true;
}

// Why there is no tensor for these elements, or kShareable.
Reason element_reason(const ArrayView& view, const ConvertOptions& options) {
  if (view.source_kind == SourceKind::kOther) return Reason::kNotAnArray;
  if (view.element.kind == ElementKind::kUnsupported) return Reason::kUnsupportedDtype;
  if (view.source_kind == SourceKind::kMaskedArray) return Reason::kMasked;
  if (view.element.kind == ElementKind::kDatetime && options.dtype != c10::kLong) {
    return Reason::kDatetime;
  }
  return Reason::kShareable;
}

}  // namespace

void plan_array(const ArrayView& view, const ConvertOptions& options, Plan& plan) {
  const Reason element = element_reason(view, options);
  if (element != Reason::kShareable) return reject(plan, element);
  plan.dtype = options.dtype.value_or(view.element.dtype);
  plan.copy_refused = false;
  plan.reason = copy_reason(view, options, plan);
  if (plan.reason == Reason::kStrideOverflow) return reject(plan, plan.reason);
  if (plan.reason == Reason::kShareable) {
    plan.action = Action::kShare;
    if (!view.writeable && options.readonly == ReadonlyPolicy::kError) {
      reject(plan, Reason::kReadonlyRefused);
    }
    return;
  }
  if (!size_of_copy(view, plan)) return reject(plan, Reason::kStrideOverflow);
  plan.copy_refused = options.copy == CopyPolicy::kNever;
  plan.action = plan.copy_refused ? Action::kReject : Action::kCopy;
}

const char* reason_text(Reason reason) {
  switch (reason) {
    case Reason::kShareable:
      return "same memory";
    case Reason::kScalar:
      return "NumPy scalar";
    case Reason::kByteOrder:
      return "foreign byte order";
    case Reason::kNegativeStride:
      return "negative stride";
    case Reason::kOddStride:
      return "stride is no multiple of the itemsize";
    case Reason::kMisaligned:
      return "misaligned data";
    case Reason::kCast:
      return "cast";
    case Reason::kReadonlyCopy:
      return "read-only and readonly=\"copy\"";
    case Reason::kCopyRequested:
      return "copy=True";
    case Reason::kNotAnArray:
      return "not an array";
    case Reason::kUnsupportedDtype:
      return "dtype without a torch counterpart";
    case Reason::kDatetime:
      return "datetime without dtype=torch.int64";
    case Reason::kMasked:
      return "masked values";
    case Reason::kReadonlyRefused:
      return "read-only and readonly=\"error\"";
    case Reason::kStrideOverflow:
      return "strides overflow 64 bits";
  }
  return "unknown";
}

}  // namespace tensorlift
