// Plan: may one array be shared with a tensor, must it be copied, or can it not be converted at
// all? Pure: reads the view and the options, touches no element and no Python object.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "plan/array_view.h"

namespace tensorlift {

enum class CopyPolicy : std::uint8_t { kIfNeeded, kAlways, kNever };
enum class ReadonlyPolicy : std::uint8_t { kWarn, kShare, kCopy, kError };

struct ConvertOptions {
  std::optional<c10::ScalarType> dtype;
  CopyPolicy copy = CopyPolicy::kIfNeeded;
  ReadonlyPolicy readonly = ReadonlyPolicy::kWarn;
};

enum class Action : std::uint8_t { kShare, kCopy, kReject };

enum class Reason : std::uint8_t {
  // kShare
  kShareable,
  // kCopy, in the order in which they are looked for: what memory forces, then what was asked for
  kScalar,
  kByteOrder,
  kNegativeStride,
  kOddStride,
  kMisaligned,
  kCast,
  kReadonlyCopy,
  kCopyRequested,
  // kReject
  kNotAnArray,
  kUnsupportedDtype,
  kDatetime,
  kMasked,
  kReadonlyRefused,
  kStrideOverflow,
};

// Left uninitialised on purpose where a stage does not need it: `strides` alone is 512 bytes, and
// one Plan is made per array.
struct Plan {
  Action action;
  Reason reason;
  bool copy_refused;      // kReject only: `reason` asks for a copy, and copy=False forbids it
  c10::ScalarType dtype;  // of the tensor; Undefined for kReject unless copy_refused
  std::size_t nbytes;     // kShare: of the storage; kCopy: of the contiguous result
  std::int64_t numel;     // kCopy only
  std::int64_t strides[kMaxDims];  // kShare only: [ndim], in elements, never negative
};

// Decides about one array. Fills `plan`, which is an out-parameter so that nothing is zeroed.
void plan_array(const ArrayView& view, const ConvertOptions& options, Plan& plan);

// "negative strides", "copy=True", ...: the reason as `explain` prints it.
[[nodiscard]] const char* reason_text(Reason reason);

}  // namespace tensorlift
