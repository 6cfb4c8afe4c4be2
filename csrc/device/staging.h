// Staging: pinned buffers on the way to a device. A few a device, pinned when first needed and
// kept; each belongs to one caller at a time and is filled again only after its last copy has run.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>

namespace tensorlift {

struct StagingSettings {
  std::size_t chunk_bytes = std::size_t{4} << 20;  // of a buffer
  int buffers = 3;                                 // a device, at most
  std::optional<int> threads;  // that fill a buffer; none: as many as torch uses
};
[[nodiscard]] StagingSettings staging_settings();
void set_staging_settings(const StagingSettings& settings);

class StagingRing;
struct StagingBuffer;

// A pinned buffer, the holder's until this dies.
class StagingLease {
 public:
  StagingLease(StagingRing& ring, std::unique_ptr<StagingBuffer> buffer);
  ~StagingLease();
  StagingLease(StagingLease&&) noexcept;
  StagingLease& operator=(StagingLease&&) = delete;
  StagingLease(const StagingLease&) = delete;
  StagingLease& operator=(const StagingLease&) = delete;

  [[nodiscard]] char* data() const;  // aligned to 64 bytes

  // All copies from the buffer are enqueued on `stream`: nobody fills it before they have run.
  void sent_on(const c10::Stream& stream);

  // Waits until they have. Throws c10::Error.
  void await();

  // Gives the memory back to its allocator instead of the ring.
  void unpin() noexcept;

 private:
  StagingRing* ring_;
  std::unique_ptr<StagingBuffer> buffer_;
};

// The device's own. Lives as long as the process.
[[nodiscard]] StagingRing& staging_ring(c10::Device device);

// A buffer of chunk_bytes whose last copy has run. Pins one where there are fewer than allowed,
// else waits until one is free. Throws c10::Error: no memory, or a copy has failed. Any thread,
// without the GIL.
[[nodiscard]] StagingLease lease_staging(StagingRing& ring, const StagingSettings& settings);

// The stream on which copies to the device run: the same for all callers, and none that torch gives
// to others before it has given away all of its high priority.
[[nodiscard]] c10::Stream staging_stream(const StagingRing& ring);

// Calls use(event) with an event of the device that nobody else has. (To make one can be slow.)
void with_staging_event(StagingRing& ring, const std::function<void(c10::Event&)>& use);

// Gives back all buffers that nobody uses. Waits for their copies. Without the GIL.
void empty_staging();

// Bytes in pinned buffers, used and unused. Without the GIL.
[[nodiscard]] std::size_t staging_bytes();

// Did this process's parent, before fork(), send anything to a device? Then this one cannot.
[[nodiscard]] bool staging_is_lost_by_fork();

}  // namespace tensorlift
