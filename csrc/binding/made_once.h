// What is made from Python objects when it is first needed, and kept for the life of the process.
#pragma once

#include <atomic>
#include <memory>

namespace tensorlift {

// No function-local static: making it may let another thread have the GIL, which would then wait
// for the static's lock with the GIL held. Two threads may make one each; the first one counts.
template <typename T>
[[nodiscard]] const T& made_once() {
  static std::atomic<const T*> kept{nullptr};
  if (const T* made = kept.load(std::memory_order_acquire)) return *made;
  auto fresh = std::make_unique<const T>();
  const T* first = nullptr;
  if (kept.compare_exchange_strong(first, fresh.get(), std::memory_order_acq_rel)) {
    return *fresh.release();
  }
  return *first;
}

}  // namespace tensorlift
