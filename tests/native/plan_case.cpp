#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "../../csrc/plan/plan.h"
#include "bytes.h"
#include "check.h"
#include "elements.h"
#include "plan_cases.h"
#include "wide.h"

namespace tensorlift::native {
namespace {

class PlanCase {
 public:
  explicit PlanCase(Bytes& bytes) {
    const std::int64_t ndim = bytes.once_in(8) ? bytes.below(kMaxDims + 1) : bytes.below(5);
    const c10::ScalarType type = bytes.one_of(kTypes);
    view_.element = element_type(type);
    view_.element.kind = bytes.once_in(16) ? ElementKind::kUnsupported : ElementKind::kNumber;
    if (type == c10::kLong && bytes.flag()) view_.element.kind = ElementKind::kDatetime;
    make_extents(bytes, ndim);
    view_.data = reinterpret_cast<void*>(static_cast<std::uintptr_t>(bytes.byte()));
    view_.source_kind = bytes.once_in(4)
                            ? bytes.one_of({SourceKind::kScalar, SourceKind::kMaskedArray,
                                            SourceKind::kOther, SourceKind::kArray})
                            : SourceKind::kArray;
    view_.swapped = bytes.once_in(8);
    view_.writeable = !bytes.once_in(4);
    if (bytes.once_in(3)) options_.dtype = bytes.one_of(kTypes);
    options_.copy = bytes.one_of({CopyPolicy::kIfNeeded, CopyPolicy::kAlways, CopyPolicy::kNever});
    options_.readonly = bytes.one_of({ReadonlyPolicy::kWarn, ReadonlyPolicy::kShare,
                                      ReadonlyPolicy::kCopy, ReadonlyPolicy::kError});
  }

  void run() {
    Plan plan;
    plan_array(view_, options_, plan);
    if (const auto refusal = refusal_of_elements()) return check_rejected(plan, *refusal);
    if (!is_empty() && !extent().fits()) return check_rejected(plan, Reason::kStrideOverflow);
    check_reason(plan);
    if (plan.reason == Reason::kReadonlyRefused) return check_rejected(plan, plan.reason);
    const bool copies = plan.reason != Reason::kShareable;
    if (copies && !nbytes_of_copy().fits()) return check_rejected(plan, Reason::kStrideOverflow);
    check(plan.dtype == dtype(), "the dtype is the one that was asked for, or the array's");
    if (!copies) return check_shared(plan);
    const bool is_refused = options_.copy == CopyPolicy::kNever;
    check(plan.action == (is_refused ? Action::kReject : Action::kCopy), "it is to be copied");
    check(plan.copy_refused == is_refused, "copy=False refuses");
    check(nbytes_of_copy() == static_cast<std::int64_t>(plan.nbytes), "the copy's size");
    check(numel() == plan.numel, "the copy's elements");
  }

 private:
  void make_extents(Bytes& bytes, std::int64_t ndim) {
    shape_.resize(static_cast<std::size_t>(ndim));
    strides_.resize(shape_.size());
    auto contiguous = static_cast<std::uint64_t>(view_.element.itemsize);
    for (std::size_t d = shape_.size(); d-- > 0;) {
      shape_[d] = bytes.flag() ? 1 + bytes.below(3) : make_size(bytes);
      strides_[d] = bytes.once_in(3) ? make_number(bytes) : static_cast<std::int64_t>(contiguous);
      contiguous *= static_cast<std::uint64_t>(shape_[d]);
    }
    view_.shape = shape_.data();
    view_.strides = strides_.data();
    view_.ndim = static_cast<int>(ndim);
  }

  [[nodiscard]] bool is_empty() const {
    return std::find(shape_.begin(), shape_.end(), 0) != shape_.end();
  }
  [[nodiscard]] c10::ScalarType dtype() const {
    return options_.dtype.value_or(view_.element.dtype);
  }
  // Does the stride lead anywhere?
  [[nodiscard]] bool moves(std::size_t d) const { return shape_[d] > 1 && !is_empty(); }

  // Bytes between the farthest ends of elements.
  [[nodiscard]] Wide extent() const {
    Wide sum = view_.element.itemsize;
    for (std::size_t d = 0; d < shape_.size(); ++d) {
      Wide reach = shape_[d] - 1;
      reach *= Wide::size_of(strides_[d]);
      sum += reach;
    }
    return sum;
  }

  [[nodiscard]] Wide numel() const {
    if (is_empty()) return 0;
    Wide product = 1;
    for (const std::int64_t size : shape_) product *= size;
    return product;
  }

  [[nodiscard]] Wide nbytes_of_copy() const {
    Wide product = numel();
    product *= static_cast<std::int64_t>(c10::elementSize(dtype()));
    return product;
  }

  [[nodiscard]] std::optional<Reason> refusal_of_elements() const {
    const bool is_datetime = view_.element.kind == ElementKind::kDatetime;
    if (view_.source_kind == SourceKind::kOther) return Reason::kNotAnArray;
    if (view_.element.kind == ElementKind::kUnsupported) return Reason::kUnsupportedDtype;
    if (view_.source_kind == SourceKind::kMaskedArray) return Reason::kMasked;
    if (is_datetime && options_.dtype != c10::kLong) return Reason::kDatetime;
    return std::nullopt;
  }

  // Of negative and odd strides either may be named.
  [[nodiscard]] bool is_true(Reason reason) const {
    const std::int64_t itemsize = view_.element.itemsize;
    switch (reason) {
      case Reason::kScalar:
        return view_.source_kind == SourceKind::kScalar;
      case Reason::kByteOrder:
        return view_.swapped;
      case Reason::kNegativeStride:
      case Reason::kOddStride:
        for (std::size_t d = 0; d < shape_.size(); ++d) {
          const bool is_negative = strides_[d] < 0;
          const bool is_odd = !is_negative && strides_[d] % itemsize != 0;
          if (moves(d) && (reason == Reason::kNegativeStride ? is_negative : is_odd)) return true;
        }
        return false;
      case Reason::kMisaligned:
        return !is_empty() && reinterpret_cast<std::uintptr_t>(view_.data) % itemsize != 0;
      case Reason::kCast:
        return dtype() != view_.element.dtype;
      case Reason::kReadonlyCopy:
        return !view_.writeable && options_.readonly == ReadonlyPolicy::kCopy;
      case Reason::kCopyRequested:
        return options_.copy == CopyPolicy::kAlways;
      case Reason::kReadonlyRefused:
        return !view_.writeable && options_.readonly == ReadonlyPolicy::kError;
      default:
        return true;  // kShareable: where nothing else is
    }
  }

  // Is it the first reason that is true?
  void check_reason(const Plan& plan) const {
    if (plan.reason == Reason::kStrideOverflow) {  // of the copy
      check(!nbytes_of_copy().fits(), "an overflow is one");
      return;
    }
    check(is_true(plan.reason), "the reason is true");
    for (const Reason reason :
         {Reason::kScalar, Reason::kByteOrder, Reason::kNegativeStride, Reason::kOddStride,
          Reason::kMisaligned, Reason::kCast, Reason::kReadonlyCopy, Reason::kCopyRequested,
          Reason::kReadonlyRefused, Reason::kShareable}) {
      if (reason == plan.reason) return;
      const bool is_either = reason == Reason::kNegativeStride && plan.reason == Reason::kOddStride;
      check(is_either || !is_true(reason), "no earlier reason is true");
    }
  }

  void check_rejected(const Plan& plan, Reason reason) const {
    check(plan.action == Action::kReject, "it is rejected");
    check(plan.reason == reason, "it is rejected for this reason");
    check(!plan.copy_refused, "not because of copy=False");
    check(plan.dtype == c10::ScalarType::Undefined, "there is no dtype");
  }

  void check_shared(const Plan& plan) const {
    const std::int64_t itemsize = view_.element.itemsize;
    check(plan.action == Action::kShare && !plan.copy_refused, "it is shared");
    for (std::size_t d = 0; d < shape_.size(); ++d) {
      const bool is_torchs = strides_[d] >= 0 && strides_[d] % itemsize == 0;
      check(plan.strides[d] >= 0, "torch has no negative strides");
      check(is_torchs || !moves(d), "the stride is one that torch can have");
      if (is_torchs) check(plan.strides[d] == strides_[d] / itemsize, "strides are kept");
    }
    const auto nbytes = static_cast<std::int64_t>(plan.nbytes);
    check(is_empty() ? nbytes == 0 : extent() == nbytes, "the storage has all elements");
  }

  Shape shape_, strides_;
  ArrayView view_;
  ConvertOptions options_;
};

}  // namespace

void run_plan_case(Bytes& bytes) { PlanCase(bytes).run(); }

}  // namespace tensorlift::native
