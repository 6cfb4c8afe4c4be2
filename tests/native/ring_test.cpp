// The staging ring, on the fake accelerator, whose copies run late: a buffer that is filled again
// too early is wrong data, and a race.
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "../../csrc/device/staging.h"
#include "../fake_accelerator/current.h"
#include "../fake_accelerator/guard.h"
#include "../fake_accelerator/pinned_memory.h"
#include "../fake_accelerator/streams.h"
#include "check.h"
#include "engine_tests.h"
#include "threads.h"

namespace tensorlift::native {
namespace {

constexpr int kCallers = 6;
constexpr int kRounds = 30;
constexpr int kDevice = 0;
constexpr std::size_t kChunkBytes = 1024;
const StagingSettings kSettings{.chunk_bytes = kChunkBytes, .buffers = 2, .threads = 1};

using Received = std::vector<unsigned char>;

// Sends `received.size()` bytes of this value by way of the ring.
void send(unsigned char value, Received& received) {
  const c10::Device device = fake::torch_device(kDevice);
  StagingRing& ring = staging_ring(device);
  const c10::Stream stream = staging_stream(ring);
  StagingSettings settings = kSettings;  // as if set_staging() had changed them meanwhile
  settings.chunk_bytes = std::max(kChunkBytes, received.size());
  StagingLease lease = lease_staging(ring, settings);
  std::memset(lease.data(), value, received.size());
  fake::streams().enqueue(fake::stream_index(stream), "h2d",
                          [from = lease.data(), to = received.data(), nbytes = received.size()] {
                            std::memcpy(to, from, nbytes);
                          });
  lease.sent_on(stream);
}

// A failed allocation of pinned memory must leave the ring as it was.
void send_or_retry(unsigned char value, Received& received) {
  try {
    send(value, received);
  } catch (const c10::Error&) {
    send(value, received);
  }
}

void send_from_many_threads() {
  fake::fail_pinned_allocation(1);
  std::vector<std::vector<Received>> received(kCallers);
  on_threads(kCallers, [&received](int caller) {
    const c10::Device device = fake::torch_device(kDevice);
    for (int round = 0; round < kRounds; ++round) {
      const std::size_t nbytes = round % 7 == 6 ? 2 * kChunkBytes : kChunkBytes - 1;
      Received& mine = received[static_cast<std::size_t>(caller)].emplace_back(nbytes);
      send_or_retry(static_cast<unsigned char>(caller * kRounds + round), mine);
      StagingRing& ring = staging_ring(device);
      with_staging_event(ring, [&ring](c10::Event& event) {
        event.record(staging_stream(ring));
        if (event.query()) event.synchronize();
      });
      if (round % 10 == 9) empty_staging();
      check(staging_bytes() <= kSettings.buffers * 2 * kChunkBytes, "no more buffers than allowed");
    }
  });
  fake::streams().wait_for_device(kDevice);
  for (std::size_t caller = 0; caller < received.size(); ++caller) {
    for (std::size_t round = 0; round < received[caller].size(); ++round) {
      const auto value = static_cast<unsigned char>(caller * kRounds + round);
      const Received& bytes = received[caller][round];
      check(std::all_of(bytes.begin(), bytes.end(), [value](auto b) { return b == value; }),
            "what was put into a buffer is what was sent");
    }
  }
  empty_staging();
  check(staging_bytes() == 0 && fake::live_pinned_bytes() == 0, "all pinned memory is given back");
}

}  // namespace

void test_ring() {
  fake::register_device();
  for (const fake::Mode mode : {fake::Mode::kEager, fake::Mode::kLazy, fake::Mode::kThread}) {
    fake::streams().set_mode(mode, /*delay_us=*/20);
    send_from_many_threads();
  }
  fake::streams().set_mode(fake::Mode::kEager, 0);  // ends its thread
}

}  // namespace tensorlift::native
