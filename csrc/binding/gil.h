// Gil: releasing and acquiring the GIL, also while the interpreter finalizes.
#pragma once

#include <unistd.h>

#include <cstddef>

#include "binding/python_api.h"

namespace tensorlift {

// Calls a function that takes the GIL, or runs Python code, where no exception may pass. Up to
// Python 3.13 a thread that asks for the GIL after the interpreter has begun to finalize is ended
// inside that call by a forced unwind, which would end the process at the first noexcept
// destructor. Such a thread sleeps for the rest of the process instead, as Python 3.14 has it; it
// holds no lock of ours.
template <typename Function>
void with_python_or_sleep(Function function) noexcept {
  try {
    function();
  } catch (...) {
    for (;;) pause();
  }
}

// The calling thread has no GIL while one of these lives.
class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() {
    with_python_or_sleep([this] { PyEval_RestoreThread(state_); });
  }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

// Calls `copy`, which copies `nbytes` and knows nothing of Python, without the GIL where that is
// much.
//
// Below the limit the GIL stays held: giving it away can cost a whole switch interval (5 ms) when
// another thread wants it, and 64 KiB are copied in a few microseconds.
inline constexpr std::size_t kReleaseGilBytes = 64 << 10;
template <typename Copy>
void without_gil(std::size_t nbytes, Copy copy) {
  if (nbytes < kReleaseGilBytes) return copy();
  const GilRelease release;
  copy();
}

}  // namespace tensorlift
