#include "current.h"

#include <c10/util/Exception.h>

#include <array>

namespace fake {
namespace {

thread_local int device_of_thread = 0;
thread_local std::array<StreamIndex, kDevices> streams_of_thread = {0, kStreamsPerDevice};
static_assert(kDevices == 2, "one default stream each");

}  // namespace

StreamIndex stream_index(int device, int number) {
  TORCH_CHECK(device >= 0 && device < kDevices, "fakeacc: invalid device ordinal ", device);
  TORCH_CHECK(number >= 0 && number < kStreamsPerDevice, "fakeacc: no stream ", number);
  return device * kStreamsPerDevice + number;
}

StreamIndex stream_index(const c10::Stream& stream) {
  return stream_index(stream.device_index(), static_cast<int>(stream.id()));
}

c10::Device torch_device(int device) {
  return {kDeviceType, static_cast<c10::DeviceIndex>(device)};
}

c10::Stream torch_stream(StreamIndex stream) {
  return c10::Stream(c10::Stream::UNSAFE, torch_device(device_of(stream)), number_of(stream));
}

int current_device() { return device_of_thread; }

void set_current_device(int device) {
  TORCH_CHECK(device >= 0 && device < kDevices, "fakeacc: invalid device ordinal ", device);
  device_of_thread = device;
}

StreamIndex current_stream(int device) {
  return streams_of_thread.at(static_cast<std::size_t>(device));
}

StreamIndex current_stream() { return current_stream(device_of_thread); }

void set_current_stream(StreamIndex stream) {
  streams_of_thread.at(static_cast<std::size_t>(device_of(stream))) = stream;
}

}  // namespace fake
