#include "faults.h"

#ifdef TENSORLIFT_FAULTS
#include <atomic>
#include <chrono>
#include <thread>
#endif

namespace tensorlift {

#ifdef TENSORLIFT_FAULTS
namespace {

std::atomic<int> seeded{0};

enum Gate { kOpen, kClosed, kWaiting };
std::atomic<int> gate{kOpen};

constexpr const char* kNames[] = {
    "none",
    "buffer_not_awaited",
    "buffer_shared",
    "buffer_not_returned",
    "failed_pin_counted",
    "event_before_copy",
    "event_on_wrong_stream",
    "copy_before_gather",
    "consumer_not_ordered",
    "memory_not_recorded",
    "own_memory_not_recorded",
    "memory_of_consumer",
    "stream_of_other_device",
    "cast_on_consumer",
    "cast_too_early",
    "own_memory_at_zero",
    "gaps_not_cleared",
    "pinned_not_recorded",
    "pinned_by_address",
    "pinned_though_written",
    "gil_held",
    "items_dropped",
    "capture_allowed",
    "fork_allowed",
};
static_assert(sizeof(kNames) / sizeof(kNames[0]) == static_cast<int>(Fault::kCount));

}  // namespace

bool is_seeded(Fault fault) { return seeded.load() == static_cast<int>(fault); }
void seed(int fault) { seeded = fault; }
const char* fault_name(int fault) { return kNames[fault]; }

void pass_gate() {
  int expected = kClosed;
  if (!gate.compare_exchange_strong(expected, kWaiting)) return;
  while (gate == kWaiting) std::this_thread::sleep_for(std::chrono::microseconds(100));
}
void close_gate() { gate = kClosed; }
bool somebody_waits_at_gate() { return gate == kWaiting; }
void open_gate() { gate = kOpen; }
#endif

}  // namespace tensorlift
