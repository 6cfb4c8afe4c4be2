// Staging: pinned buffers on the way to a device. A few a device, pinned when first needed and
// kept; each belongs to one caller at a time and is filled again only after its last copy has run.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <cstddef>
#include <optional>

namespace tensorlift {

struct StagingSettings {
  std::size_t chunk_bytes = std::size_t{4} << 20;  // of a buffer
  int buffers = 3;                                 // a device, at most
  std::optional<int> threads;  // that fill a buffer; none: as many as torch uses
  std::size_t own_storage_bytes = std::size_t{1} << 20;  // a tensor from so many on lies alone
};
[[nodiscard]] StagingSettings staging_settings();
void set_staging_settings(const StagingSettings& settings);

class StagingRing;
struct StagingBuffer;

// A pinned buffer, the holder's until this dies.
class StagingLease {
 public:
  StagingLease(StagingRing& ring, StagingBuffer* buffer) : ring_(&ring), buffer_(buffer) {}
  ~StagingLease();
  StagingLease(StagingLease&& other) noexcept : ring_(other.ring_), buffer_(other.buffer_) {
    other.buffer_ = nullptr;
  }
  StagingLease& operator=(StagingLease&&) = delete;
  StagingLease(const StagingLease&) = delete;
  StagingLease& operator=(const StagingLease&) = delete;

  [[nodiscard]] char* data() const;  // aligned to 64 bytes

  // All copies from the buffer are enqueued on `stream`: nobody fills it before they have run.
  void sent_on(const c10::Stream& stream);

 private:
  friend StagingRing;

  StagingRing* ring_;
  StagingBuffer* buffer_;
};

// A buffer of at least `nbytes`, whose last copy has run. Waits where all are in use; pins one
// where there are fewer than allowed. One for more than chunk_bytes is pinned for this lease alone.
// Throws c10::Error: no memory. Any thread, without the GIL.
[[nodiscard]] StagingLease lease_staging(c10::Device device, std::size_t nbytes);

// The stream on which copies to the device run unless the caller names another. Made when first
// asked for; the same for all callers.
[[nodiscard]] c10::Stream staging_stream(c10::Device device);

// Gives back all buffers that nobody uses. Waits for their copies. Without the GIL.
void empty_staging();

// Bytes in pinned buffers, used and unused.
[[nodiscard]] std::size_t staging_bytes();

// Did this process's parent, before fork(), send anything to a device? Then this one cannot.
[[nodiscard]] bool staging_is_lost_by_fork();

}  // namespace tensorlift
