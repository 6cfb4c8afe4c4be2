#include "staging.h"

#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "faults.h"
#include "per_process.h"

namespace tensorlift {

struct StagingBuffer {
  StagingBuffer(c10::Device device, std::size_t bytes, bool kept_for_later)
      : memory(at::getHostAllocator(device.type())->allocate(bytes)),
        nbytes(bytes),
        last_copy(device.type()),
        is_kept(kept_for_later) {}

  void await() { last_copy.synchronize(); }

  c10::DataPtr memory;
  std::size_t nbytes;
  c10::Event last_copy;  // query() of one that was never recorded is true
  bool is_kept;          // else for one lease alone, and its copies are the allocator's business
};

// The buffers of one device.
class StagingRing {
 public:
  explicit StagingRing(c10::Device device)
      : device_(device), stream_(c10::impl::VirtualGuardImpl(device.type()).getNewStream(device)) {}

  [[nodiscard]] c10::Stream stream() const { return stream_; }

  StagingLease lease(std::size_t nbytes) {
    const StagingSettings settings = staging_settings();
    if (nbytes > settings.chunk_bytes) {
      return {*this, std::make_unique<StagingBuffer>(device_, nbytes, false).release()};
    }
    StagingLease lease(*this, take(settings));
    if (!is_seeded(Fault::kBufferNotAwaited)) lease.buffer_->await();
    return lease;
  }

  void give_back(StagingBuffer* buffer) noexcept {
    if (!buffer->is_kept) return delete buffer;
    if (!is_seeded(Fault::kBufferShared)) {
      const std::lock_guard lock(mutex_);
      idle_.push_back(buffer);
    }
    given_back_.notify_one();
  }

  void empty() {
    std::deque<StagingBuffer*> idle;
    {
      const std::lock_guard lock(mutex_);
      idle.swap(idle_);
    }
    for (StagingBuffer* buffer : idle) drop(buffer);
  }

  [[nodiscard]] std::size_t nbytes() {
    const std::lock_guard lock(mutex_);
    std::size_t sum = 0;
    for (const auto& buffer : buffers_) sum += buffer->nbytes;
    return sum;
  }

 private:
  // A buffer of this size out of the idle ones, in turn, or a new one.
  StagingBuffer* take(const StagingSettings& settings) {
    std::unique_lock lock(mutex_);
    for (;;) {
      const bool may_pin = static_cast<int>(buffers_.size()) + being_pinned_ < settings.buffers;
      if (!idle_.empty() && (!may_pin || idle_.front()->last_copy.query())) {
        StagingBuffer* buffer = idle_.front();
        if (!is_seeded(Fault::kBufferShared)) idle_.pop_front();
        const bool is_as_set = buffer->nbytes == settings.chunk_bytes &&
                               static_cast<int>(buffers_.size()) <= settings.buffers;
        if (is_as_set) return buffer;
        lock.unlock();
        drop(buffer);  // the settings were changed
        lock.lock();
      } else if (may_pin) {
        return pin(settings.chunk_bytes, lock);
      } else {
        given_back_.wait(lock);
      }
    }
  }

  // Pinning takes milliseconds: others go on meanwhile.
  StagingBuffer* pin(std::size_t nbytes, std::unique_lock<std::mutex>& lock) {
    ++being_pinned_;
    lock.unlock();
    std::unique_ptr<StagingBuffer> buffer;
    try {
      buffer = std::make_unique<StagingBuffer>(device_, nbytes, true);
    } catch (...) {
      lock.lock();
      if (!is_seeded(Fault::kFailedPinCounted)) --being_pinned_;
      given_back_.notify_one();
      throw;
    }
    lock.lock();
    --being_pinned_;
    buffers_.push_back(std::move(buffer));
    if (is_seeded(Fault::kBufferShared)) idle_.push_back(buffers_.back().get());
    return buffers_.back().get();
  }

  // Unpins an idle buffer that is in idle_ no more.
  void drop(StagingBuffer* buffer) {
    buffer->await();
    {
      const std::lock_guard lock(mutex_);
      std::erase_if(buffers_, [buffer](const auto& kept) { return kept.get() == buffer; });
    }
    given_back_.notify_one();
  }

  const c10::Device device_;
  const c10::Stream stream_;
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::vector<std::unique_ptr<StagingBuffer>> buffers_;
  std::deque<StagingBuffer*> idle_;  // the longest unused first
  int being_pinned_ = 0;
};

namespace {

// Never destroyed, and so are the rings: at the process's end the driver may be gone before us.
struct Rings {
  std::mutex mutex;
  std::map<std::pair<c10::DeviceType, c10::DeviceIndex>, StagingRing*> of_device;
};
PerProcess<Rings> rings;

std::atomic<std::size_t> chunk_bytes{StagingSettings().chunk_bytes};
std::atomic<int> buffers{StagingSettings().buffers};
std::atomic<int> threads{0};  // 0: as many as torch uses
std::atomic<std::size_t> own_storage_bytes{StagingSettings().own_storage_bytes};

std::atomic<bool> was_used{false};
std::atomic<bool> is_lost{false};

// Before the first fork, as long as the module is loaded before.
[[maybe_unused]] const int fork_watch = pthread_atfork(nullptr, nullptr, [] {
  if (was_used) is_lost = true;
});

StagingRing& ring_of(c10::Device device) {
  Rings& all = rings.get();
  const std::lock_guard lock(all.mutex);
  StagingRing*& ring = all.of_device[{device.type(), device.index()}];
  if (ring == nullptr) ring = new StagingRing(device);
  was_used = true;
  return *ring;
}

std::vector<StagingRing*> all_rings() {
  Rings& all = rings.get();
  const std::lock_guard lock(all.mutex);
  std::vector<StagingRing*> list;
  for (const auto& [device, ring] : all.of_device) list.push_back(ring);
  return list;
}

}  // namespace

StagingLease::~StagingLease() {
  if (is_seeded(Fault::kBufferNotReturned) && std::uncaught_exceptions() > 0) return;
  if (buffer_ != nullptr) ring_->give_back(buffer_);
}

char* StagingLease::data() const { return static_cast<char*>(buffer_->memory.get()); }

void StagingLease::sent_on(const c10::Stream& stream) {
  if (buffer_->is_kept) return buffer_->last_copy.record(stream);
  at::getHostAllocator(stream.device_type())
      ->record_event(buffer_->memory.get(), buffer_->memory.get_context(), stream);
}

StagingLease lease_staging(c10::Device device, std::size_t nbytes) {
  return ring_of(device).lease(nbytes);
}

c10::Stream staging_stream(c10::Device device) { return ring_of(device).stream(); }

StagingSettings staging_settings() {
  const int limit = threads;
  return {chunk_bytes, buffers, limit > 0 ? std::optional(limit) : std::nullopt, own_storage_bytes};
}

void set_staging_settings(const StagingSettings& settings) {
  chunk_bytes = settings.chunk_bytes;
  buffers = settings.buffers;
  threads = settings.threads.value_or(0);
  own_storage_bytes = settings.own_storage_bytes;
}

void empty_staging() {
  for (StagingRing* ring : all_rings()) ring->empty();
}

std::size_t staging_bytes() {
  std::size_t sum = 0;
  for (StagingRing* ring : all_rings()) sum += ring->nbytes();
  return sum;
}

bool staging_is_lost_by_fork() { return is_lost; }

}  // namespace tensorlift
