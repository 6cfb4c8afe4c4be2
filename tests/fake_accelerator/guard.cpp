#include "guard.h"

#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/version.h>

#include <array>
#include <atomic>

#include "counters.h"
#include "current.h"
#include "device_memory.h"
#include "pinned_memory.h"
#include "registered_memory.h"
#include "streams.h"

namespace fake {
namespace {

int device_or_current(c10::Device device) {
  return device.has_index() ? device.index() : current_device();
}

// Those of a pool are handed out in turn, and again when all have been.
StreamIndex next_stream(int device, bool is_high_priority) {
  static std::array<std::array<std::atomic<unsigned>, 2>, kDevices> handed_out{};
  const unsigned turn =
      handed_out.at(static_cast<std::size_t>(device)).at(is_high_priority ? 1 : 0)++;
  const int first = is_high_priority ? 1 + kStreamsInPool : 1;
  return stream_index(device, first + static_cast<int>(turn % kStreamsInPool));
}

// An event is a Mark: what its stream had been given when it was recorded.
class Guard final : public c10::impl::DeviceGuardImplInterface {
 public:
  [[nodiscard]] c10::DeviceType type() const override { return kDeviceType; }

  [[nodiscard]] c10::DeviceIndex deviceCount() const noexcept override { return kDevices; }
  [[nodiscard]] c10::Device getDevice() const override { return torch_device(current_device()); }
  void setDevice(c10::Device device) const override {
    set_current_device(device_or_current(device));
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override { setDevice(device); }
  [[nodiscard]] c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before = getDevice();
    setDevice(device);
    return before;
  }

  [[nodiscard]] c10::Stream getStream(c10::Device device) const override {
    return torch_stream(current_stream(device_or_current(device)));
  }
  [[nodiscard]] c10::Stream getDefaultStream(c10::Device device) const override {
    return torch_stream(stream_index(device_or_current(device), 0));
  }
  [[nodiscard]] c10::Stream getNewStream(c10::Device device, int /*priority*/) const override {
    return torch_stream(next_stream(device_or_current(device), /*is_high_priority=*/false));
  }
  [[nodiscard]] c10::Stream getStreamFromGlobalPool(c10::Device device,
                                                    bool is_high_priority) const override {
    return torch_stream(next_stream(device_or_current(device), is_high_priority));
  }
  [[nodiscard]] c10::Stream exchangeStream(c10::Stream stream) const override {
    const c10::Stream before = getStream(stream.device());
    set_current_stream(stream_index(stream));
    return before;
  }
  [[nodiscard]] bool queryStream(const c10::Stream& stream) const override {
    return streams().has_run(streams().issued(stream_index(stream)));
  }
  void synchronizeStream(const c10::Stream& stream) const override {
    count(Counter::kStreamSync);
    streams().wait(streams().issued(stream_index(stream)));
  }
  void synchronizeDevice(c10::DeviceIndex device) const override {
    count(Counter::kDeviceSync);
    streams().wait_for_device(device < 0 ? current_device() : device);
  }
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 13
  [[nodiscard]] bool isStreamCapturing(const c10::Stream& /*stream*/) const override {
    return streams().is_capturing();
  }
#endif

  void record(void** event, const c10::Stream& stream, c10::DeviceIndex /*device*/,
              c10::EventFlag /*flag*/) const override {
    count(Counter::kEventRecord);
    const Mark mark = streams().issued(stream_index(stream));
    if (*event == nullptr) *event = new Mark;
    *static_cast<Mark*>(*event) = mark;
  }
  void block(void* event, const c10::Stream& stream) const override {
    if (event == nullptr) return;
    count(Counter::kEventBlock);
    streams().enqueue_wait(stream_index(stream), *static_cast<Mark*>(event));
  }
  [[nodiscard]] bool queryEvent(void* event) const override {
    return event == nullptr || streams().poll(*static_cast<Mark*>(event));
  }
  void synchronizeEvent(void* event) const override {
    if (event == nullptr) return;
    count(Counter::kEventSync);
    streams().wait(*static_cast<Mark*>(event));
  }
  void destroyEvent(void* event, c10::DeviceIndex /*device*/) const noexcept override {
    delete static_cast<Mark*>(event);
  }
  [[nodiscard]] double elapsedTime(void* /*start*/, void* /*end*/,
                                   c10::DeviceIndex /*device*/) const override {
    return 0;
  }

  void recordDataPtrOnStream(const c10::DataPtr& memory, const c10::Stream& stream) const override {
    use_on_stream(memory.get(), stream_index(stream));
  }
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

class Hooks final : public at::PrivateUse1HooksInterface {
 public:
  void init() const override {}
  [[nodiscard]] bool isBuilt() const override { return true; }
  [[nodiscard]] bool isAvailable() const override { return true; }
  [[nodiscard]] bool hasPrimaryContext(c10::DeviceIndex /*device*/) const override { return true; }
  [[nodiscard]] c10::DeviceIndex deviceCount() const override { return kDevices; }
  [[nodiscard]] c10::DeviceIndex getCurrentDevice() const override {
    return static_cast<c10::DeviceIndex>(current_device());
  }
  void setCurrentDevice(c10::DeviceIndex device) const override { set_current_device(device); }
  [[nodiscard]] at::Allocator* getPinnedMemoryAllocator() const override {
    return &pinned_allocator();
  }
  [[nodiscard]] bool isPinnedPtr(const void* address) const override {
    return is_pinned(address) || is_registered(address);
  }
  [[nodiscard]] at::Device getDeviceFromPtr(void* address) const override {
    const std::optional<int> device = device_of_address(address);
    TORCH_CHECK(device, "fakeacc: not an address of device memory");
    return torch_device(*device);
  }
};

}  // namespace

void register_device() {
  c10::register_privateuse1_backend("fakeacc");
  c10::SetAllocator(kDeviceType, &device_allocator());
  at::setHostAllocator(kDeviceType, &pinned_allocator());
  at::RegisterPrivateUse1HooksInterface(new Hooks());
}

}  // namespace fake
