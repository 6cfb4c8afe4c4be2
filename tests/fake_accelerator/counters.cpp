#include "counters.h"

#include <array>
#include <atomic>
#include <cstddef>

namespace fake {
namespace {

constexpr auto kCounters = static_cast<std::size_t>(Counter::kCount);

// In the order of the enumerators.
constexpr std::array<const char*, kCounters> kNames = {
    "h2d",
    "h2d_bytes",
    "h2d_registered_bytes",
    "h2d_pageable",
    "h2d_with_gil",
    "d2h",
    "d2d",
    "d2d_cast",
    "event_record",
    "event_block",
    "event_sync",
    "stream_sync",
    "device_sync",
    "device_alloc",
    "device_reuse",
    "pinned_alloc",
    "pinned_reuse",
    "record_event",
    "record_event_miss",
    "cpu_fallback",
    "host_register",
    "host_register_miss",
    "host_unregister",
    "host_unregister_miss",
    "forbidden_wait",
};
static_assert(kNames.back() != nullptr);

// Atomics and no lock: a forked child may ask as well.
std::array<std::atomic<std::int64_t>, kCounters> values{};

}  // namespace

void count(Counter counter, std::int64_t by) { values[static_cast<std::size_t>(counter)] += by; }

std::map<std::string, std::int64_t> counts() {
  std::map<std::string, std::int64_t> result;
  for (std::size_t i = 0; i < kCounters; ++i) result.emplace(kNames[i], values[i].load());
  return result;
}

void reset_counts() {
  for (auto& value : values) value = 0;
}

}  // namespace fake
