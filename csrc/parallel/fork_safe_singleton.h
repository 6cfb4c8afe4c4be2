// ForkSafeSingleton: one object a process, also after fork().
#pragma once

#include <pthread.h>

#include <atomic>

namespace tensorlift {

// Holds the object of type T that this process uses, made when first asked for. A forked child gets
// a new one: in the parent's the mutexes may be locked for ever, by threads that the child does not
// have. Nothing is ever destroyed, so that threads may use it until the process ends.
//
// One ForkSafeSingleton per T, with static storage, made before the first fork.
template <typename T>
class ForkSafeSingleton {
 public:
  ForkSafeSingleton() {
    pthread_atfork(nullptr, nullptr, [] { current_.store(nullptr); });
  }
  ForkSafeSingleton(const ForkSafeSingleton&) = delete;
  ForkSafeSingleton& operator=(const ForkSafeSingleton&) = delete;

  T& get() {
    T* existing = current_.load(std::memory_order_acquire);
    if (existing != nullptr) [[likely]] {
      return *existing;
    }
    T* fresh = new T();
    if (current_.compare_exchange_strong(existing, fresh, std::memory_order_acq_rel)) return *fresh;
    delete fresh;  // another thread was first, and nobody has seen this one
    return *existing;
  }

 private:
  static inline std::atomic<T*> current_{nullptr};
};

}  // namespace tensorlift
