// Transfer: bytes from pinned buffers to memory on a device, on a stream of their own, in order
// with the caller's stream. Knows of no arrays and no Python.
//
// Device-generic: c10's guards, events and host allocators, so that one build serves every backend
// that has them, and needs no header of any. The rules that it keeps:
//   - copies run on a stream of their own, whatever the caller's is busy with;
//   - device memory comes from that stream's pool, and a failed transfer returns it there: nobody
//     uses it before what was enqueued has run, and nothing has to be undone;
//   - the caller's stream waits for the copies, and the allocator is told that it uses the memory;
//   - a buffer's event is recorded after its copies, on their stream.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/ScalarType.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "dispatch_guard.h"
#include "plan/packed_bytes.h"

namespace tensorlift {

struct TransferOptions {
  c10::Device device;                 // with an index
  std::optional<c10::Stream> stream;  // results are ready on it; none: on the current one
  bool non_blocking = true;           // false: the host waits until they are there
};

// A part of the packed bytes and where it goes: memory of its own on the device.
struct Section {
  std::size_t packed_begin = 0;    // bytes
  std::size_t nbytes = 0;          // packed
  c10::ScalarType packed_dtype{};  // what is sent
  c10::ScalarType dtype{};  // what it becomes, on the device; kByte, kByte: all kinds of numbers
  bool is_own = false;      // of a single tensor
  bool is_packed = true;    // else it gets its elements from a PinnedSource
  at::Tensor sent{};        // bytes; set by send()
  at::Tensor result{};      // bytes; set by send(); the same where there is no cast
  bool is_callers = false;  // `result` is there already, memory of the caller's
  // Instead of a cast: called on the stream of the copies, after all items were enqueued there.
  std::function<void(const Section&)> convert{};
  // Called on that stream at the very end: writes the result to this tensor of the caller's.
  std::function<void(const Section&)> finish{};
  at::Tensor finished{};
};

// Elements that are sent from where they lie, in pinned memory.
struct PinnedSource {
  const void* data;
  std::size_t nbytes;
  const void* block;  // what the memory's allocator knows it by
  void* context;
  std::size_t section;
};

// What is sent together, and where to.
struct TransferItem {
  PackedBytes packed;
  std::vector<Section> sections;  // in the order of the packed bytes
  std::vector<PinnedSource> pinned;
};

// How much would be done to send them?
struct TransferCounts {
  std::size_t windows = 0;  // buffers that are filled, one after another
  std::size_t copies = 0;   // to the device, out of buffers and pinned sources
  std::size_t nbytes = 0;   // of these copies
  std::size_t casts = 0;    // sections that become what they are to be on the device
};
[[nodiscard]] TransferCounts count_copies(const std::vector<TransferItem>& items);

// Has this kind of device what a transfer needs?
[[nodiscard]] bool can_transfer_to(c10::DeviceType type);

// Is work on this stream recorded for a later replay at the moment? (torch 2.13 and newer; false on
// older ones.)
[[nodiscard]] bool is_capturing(const c10::Stream& stream);

// Writes all items through pinned buffers, sends them, and converts what arrives; fills in `sent`
// and `result` of all sections. The items' sources may be changed afterwards; pinned ones not
// before the copies have run. Memory of the caller's is written to after what the consumer's stream
// was given before, and before what it is given next, also after an error. Throws c10::Error.
// Without the GIL.
void send(std::vector<TransferItem>& items, const TransferOptions& options,
          std::optional<int> threads);

}  // namespace tensorlift
