// Current: the device of this thread and its stream on every device, and how streams are numbered.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>

namespace fake {

inline constexpr auto kDeviceType = c10::DeviceType::PrivateUse1;
inline constexpr int kDevices = 2;
inline constexpr int kStreamsInPool = 32;

// 0 is the default stream; two pools are handed out, of ordinary and of high priority, as by CUDA.
inline constexpr int kStreamsPerDevice = 1 + 2 * kStreamsInPool;

// A stream of any device: device * kStreamsPerDevice + the stream's number on it.
using StreamIndex = int;
inline constexpr StreamIndex kStreams = kDevices * kStreamsPerDevice;

constexpr int device_of(StreamIndex stream) { return stream / kStreamsPerDevice; }
constexpr int number_of(StreamIndex stream) { return stream % kStreamsPerDevice; }

// Throws c10::Error where the device has no such stream.
[[nodiscard]] StreamIndex stream_index(int device, int number);
[[nodiscard]] StreamIndex stream_index(const c10::Stream& stream);

[[nodiscard]] c10::Device torch_device(int device);
[[nodiscard]] c10::Stream torch_stream(StreamIndex stream);

[[nodiscard]] int current_device();
void set_current_device(int device);  // throws c10::Error where there is none

[[nodiscard]] StreamIndex current_stream(int device);
[[nodiscard]] StreamIndex current_stream();  // of the current device
void set_current_stream(StreamIndex stream);

}  // namespace fake
