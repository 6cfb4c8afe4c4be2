// Faults: places where a build for tests can be told to do the wrong thing, to prove that the tests
// of the transfer to devices notice. In every other build all of it is compiled away.
#pragma once

#include <cstdint>

namespace tensorlift {

enum class Fault : std::uint8_t {
  kNone,
  // staging: buffers
  kBufferNotAwaited,    // a buffer is filled again before its last copy has run
  kBufferShared,        // two callers get the same buffer
  kBufferNotReturned,   // after an error a buffer is never given back
  kFailedPinCounted,    // pinned memory that was not to be had counts as had
  kEventBeforeCopy,     // the buffer's event is recorded before its copy is enqueued
  kEventOnWrongStream,  // ... or on another stream than the copy's
  // transfer: streams and memory
  kCopyBeforeGather,      // the copy is enqueued before the buffer is full
  kConsumerNotOrdered,    // the caller's stream does not wait for the copies
  kMemoryNotRecorded,     // the allocator is not told that the caller's stream uses the memory
  kOwnMemoryNotRecorded,  // ... for arrays with storage of their own
  kMemoryOfConsumer,      // device memory comes from the caller's stream, which may still use it
  kStreamOfOtherDevice,   // the stream is that of the device that was current before
  kCastOnConsumer,        // a cast is launched on the caller's stream
  kCastTooEarly,          // ... or before its elements are sent
  kOwnMemoryAtZero,       // each part of a large array goes to the beginning of its memory
  // gather
  kGapsNotCleared,  // older contents of the buffer are sent between small arrays
  // pinned sources
  kPinnedNotRecorded,    // the allocator is not told of a copy out of pinned memory
  kPinnedByAddress,      // ... or told an address that it does not know
  kPinnedThoughWritten,  // elements are sent from where the caller may still change them
  // the seam
  kGilHeld,
  kItemsDropped,  // the caller's arrays are let go of too early
  kCaptureAllowed,
  kForkAllowed,
  kCount,
};

#ifdef TENSORLIFT_FAULTS
[[nodiscard]] bool is_seeded(Fault fault);
void seed(int fault);
[[nodiscard]] const char* fault_name(int fault);

// Where the next caller is made to wait until open_gate().
void pass_gate();
void close_gate();
[[nodiscard]] bool somebody_waits_at_gate();
void open_gate();
#else
[[nodiscard]] constexpr bool is_seeded(Fault) { return false; }
inline void pass_gate() {}
#endif

}  // namespace tensorlift
