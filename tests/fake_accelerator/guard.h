// Guard: what c10 and ATen ask of a device type: devices, streams, events, pinned memory.
#pragma once

namespace fake {

// Makes "fakeacc" a device of torch: its name, its allocators and its hooks. Once.
void register_device();

}  // namespace fake
