#include "device/staging.h"

#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "parallel/fork_safe_singleton.h"

namespace tensorlift {

struct StagingBuffer {
  StagingBuffer(c10::Device device, std::size_t bytes)
      : memory(at::getHostAllocator(device.type())->allocate(bytes)),
        nbytes(bytes),
        last_copy(device.type()) {}

  const c10::DataPtr memory;
  const std::size_t nbytes;
  c10::Event last_copy;  // one that was never recorded has happened
};

// The buffers of one device. A buffer is idle, or in a lease. Nothing is destroyed, and nobody
// waits for the device, under the lock.
class StagingRing {
 public:
  explicit StagingRing(c10::Device device)
      : device_(device),
        stream_(c10::impl::VirtualGuardImpl(device.type())
                    .getStreamFromGlobalPool(device, /*isHighPriority=*/true)) {}

  [[nodiscard]] c10::Stream stream() const { return stream_; }

  StagingLease lease(const StagingSettings& settings) {
    const std::size_t wanted = settings.chunk_bytes;  // others were pinned before it was changed
    std::unique_lock lock(mutex_);
    for (;;) {
      const bool too_many = pinned_ > settings.buffers && !idle_.empty();
      if (auto buffer = too_many ? nullptr : take_ready(wanted)) return {*this, std::move(buffer)};
      if (pinned_ < settings.buffers) return pin(wanted, lock);
      if (idle_.empty()) {
        given_back_.wait(lock);
        continue;
      }
      auto buffer = take_to_wait_for(wanted);
      lock.unlock();
      if (buffer->nbytes == wanted && !too_many) return awaited(std::move(buffer));
      StagingLease surplus(*this, std::move(buffer));  // of another size, or one too many
      surplus.await();
      surplus.unpin();
      lock.lock();
    }
  }

  void give_back(std::unique_ptr<StagingBuffer> buffer) noexcept {
    {
      const std::lock_guard lock(mutex_);
      idle_.push_back(std::move(buffer));
    }
    given_back_.notify_one();
  }

  void unpin(std::unique_ptr<StagingBuffer> buffer) noexcept {
    const std::size_t nbytes = buffer->nbytes;
    buffer.reset();
    {
      const std::lock_guard lock(mutex_);
      --pinned_;
      pinned_bytes_ -= nbytes;
    }
    given_back_.notify_one();
  }

  void empty() {
    for (std::size_t i = idle_count(); i > 0; --i) {
      std::unique_lock lock(mutex_);
      if (idle_.empty()) return;
      StagingLease unused(*this, take(idle_.begin()));
      lock.unlock();
      unused.await();
      unused.unpin();
    }
  }

  [[nodiscard]] std::size_t pinned_bytes() {
    const std::lock_guard lock(mutex_);
    return pinned_bytes_;
  }

  void with_event(const std::function<void(c10::Event&)>& use) {
    std::unique_lock lock(mutex_);
    c10::Event event(device_.type());  // costs nothing before it is recorded
    if (!events_.empty()) {
      event = std::move(events_.back());
      events_.pop_back();
    }
    lock.unlock();
    use(event);
    lock.lock();
    events_.push_back(std::move(event));
  }

 private:
  using Idle = std::deque<std::unique_ptr<StagingBuffer>>;

  std::size_t idle_count() {
    const std::lock_guard lock(mutex_);
    return idle_.size();
  }

  std::unique_ptr<StagingBuffer> take(Idle::iterator place) {
    std::unique_ptr<StagingBuffer> buffer = std::move(*place);
    idle_.erase(place);
    return buffer;
  }

  // One of this size that need not be waited for.
  std::unique_ptr<StagingBuffer> take_ready(std::size_t nbytes) {
    for (auto place = idle_.begin(); place != idle_.end(); ++place) {
      if ((*place)->nbytes == nbytes && (*place)->last_copy.query()) return take(place);
    }
    return nullptr;
  }

  // One of another size, which makes place, or the longest idle.
  std::unique_ptr<StagingBuffer> take_to_wait_for(std::size_t nbytes) {
    const auto other = std::find_if(idle_.begin(), idle_.end(), [nbytes](const auto& buffer) {
      return buffer->nbytes != nbytes;
    });
    return take(other == idle_.end() ? idle_.begin() : other);
  }

  StagingLease awaited(std::unique_ptr<StagingBuffer> buffer) {
    StagingLease lease(*this, std::move(buffer));
    lease.await();
    return lease;
  }

  // Pinning takes milliseconds: others go on meanwhile.
  StagingLease pin(std::size_t nbytes, std::unique_lock<std::mutex>& lock) {
    ++pinned_;
    pinned_bytes_ += nbytes;
    lock.unlock();
    try {
      return {*this, std::make_unique<StagingBuffer>(device_, nbytes)};
    } catch (...) {
      lock.lock();
      --pinned_;
      pinned_bytes_ -= nbytes;
      given_back_.notify_one();
      throw;
    }
  }

  const c10::Device device_;
  const c10::Stream stream_;
  std::mutex mutex_;
  std::condition_variable given_back_;
  Idle idle_;       // the longest idle first
  int pinned_ = 0;  // buffers, idle or not
  std::size_t pinned_bytes_ = 0;
  std::vector<c10::Event> events_;
};

namespace {

// Never destroyed, and so are the rings: at the process's end the driver may be gone before us.
struct Rings {
  std::mutex mutex;
  std::map<std::pair<c10::DeviceType, c10::DeviceIndex>, StagingRing*> of_device;
};
ForkSafeSingleton<Rings> rings;

// Written with the GIL held.
std::atomic<std::size_t> chunk_bytes{StagingSettings().chunk_bytes};
std::atomic<int> buffers{StagingSettings().buffers};
std::atomic<int> threads{0};  // 0: as many as torch uses

std::atomic<bool> was_used{false};
std::atomic<bool> is_lost{false};

// Before the first fork, as long as the module is loaded before.
[[maybe_unused]] const int fork_watch = pthread_atfork(nullptr, nullptr, [] {
  if (was_used) is_lost = true;
});

std::vector<StagingRing*> all_rings() {
  Rings& all = rings.get();
  const std::lock_guard lock(all.mutex);
  std::vector<StagingRing*> list;
  for (const auto& [device, ring] : all.of_device) list.push_back(ring);
  return list;
}

}  // namespace

StagingLease::StagingLease(StagingRing& ring, std::unique_ptr<StagingBuffer> buffer)
    : ring_(&ring), buffer_(std::move(buffer)) {}

StagingLease::StagingLease(StagingLease&&) noexcept = default;

StagingLease::~StagingLease() {
  if (buffer_) ring_->give_back(std::move(buffer_));
}

char* StagingLease::data() const { return static_cast<char*>(buffer_->memory.get()); }

void StagingLease::sent_on(const c10::Stream& stream) { buffer_->last_copy.record(stream); }

void StagingLease::await() { buffer_->last_copy.synchronize(); }

void StagingLease::unpin() noexcept { ring_->unpin(std::move(buffer_)); }

StagingRing& staging_ring(c10::Device device) {
  Rings& all = rings.get();
  const std::lock_guard lock(all.mutex);
  StagingRing*& ring = all.of_device[{device.type(), device.index()}];
  if (ring == nullptr) ring = new StagingRing(device);
  was_used = true;
  return *ring;
}

StagingLease lease_staging(StagingRing& ring, const StagingSettings& settings) {
  return ring.lease(settings);
}

c10::Stream staging_stream(const StagingRing& ring) { return ring.stream(); }

void with_staging_event(StagingRing& ring, const std::function<void(c10::Event&)>& use) {
  ring.with_event(use);
}

StagingSettings staging_settings() {
  const int limit = threads;
  return {chunk_bytes, buffers, limit > 0 ? std::optional(limit) : std::nullopt};
}

void set_staging_settings(const StagingSettings& settings) {
  chunk_bytes = settings.chunk_bytes;
  buffers = settings.buffers;
  threads = settings.threads.value_or(0);
}

void empty_staging() {
  for (StagingRing* ring : all_rings()) ring->empty();
}

std::size_t staging_bytes() {
  std::size_t sum = 0;
  for (StagingRing* ring : all_rings()) sum += ring->pinned_bytes();
  return sum;
}

bool staging_is_lost_by_fork() { return is_lost; }

}  // namespace tensorlift
