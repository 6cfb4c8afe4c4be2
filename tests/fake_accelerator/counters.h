// Counters: how often the program asked the device for what, for tests to assert on.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace fake {

enum class Counter : std::uint8_t {
  kH2d,                 // copies host to device
  kH2dBytes,            // bytes of them
  kH2dRegisteredBytes,  // ... out of registered memory
  kH2dPageable,         // ... out of memory that is not pinned
  kH2dWithGil,          // ... enqueued by a thread that held the GIL
  kD2h,                 // copies device to host
  kD2d,                 // copies device to device, casts included
  kD2dCast,             // ... between different dtypes: one cast launch each
  kEventRecord,
  kEventBlock,  // a stream was told to wait for an event
  kEventSync,   // the host waited for an event
  kStreamSync,
  kDeviceSync,
  kDeviceAlloc,  // device memory that was never used before
  kDeviceReuse,  // device memory that had been freed
  kPinnedAlloc,
  kPinnedReuse,
  kRecordEvent,       // record_event() of the pinned allocator: it knew the block
  kRecordEventMiss,   // ... it did not, and did nothing, as torch's allocator does
  kCpuFallback,       // operators that ran on the CPU for want of a kernel
  kHostRegister,      // memory of the host was registered as pinned
  kHostRegisterMiss,  // ... it was not: it is registered, or to be refused
  kHostUnregister,
  kHostUnregisterMiss,  // ... of what is not registered, or not mapped any more
  kForbiddenWait,       // memory was freed that a blocked stream still uses: see Streams::settle()
  kCount,
};

void count(Counter counter, std::int64_t by = 1);

// All counters by name (snake_case, without the k), those at zero included.
[[nodiscard]] std::map<std::string, std::int64_t> counts();

void reset_counts();

}  // namespace fake
