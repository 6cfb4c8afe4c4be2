// Gil: letting go of the GIL and taking it, also while the interpreter finalizes.
#pragma once

#include <unistd.h>

#include "python_api.h"

namespace tensorlift {

// Calls a function that takes the GIL. Up to Python 3.13 a thread that asks for the GIL after the
// interpreter has begun to finalize is ended in the middle of that call, by a forced unwind, which
// would end the process at the first noexcept destructor. Such a thread sleeps for the rest of the
// process instead, as Python 3.14 has it; it holds no lock.
template <typename TakeGil>
auto take_gil_or_sleep(TakeGil take_gil) noexcept {
  try {
    return take_gil();
  } catch (...) {
    for (;;) pause();
  }
}

// The calling thread has no GIL while one of these lives.
class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() {
    take_gil_or_sleep([this] { PyEval_RestoreThread(state_); });
  }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

// The calling thread has the GIL while one of these lives, whether it had it before or not.
class GilAcquire {
 public:
  GilAcquire() : state_(take_gil_or_sleep([] { return PyGILState_Ensure(); })) {}
  ~GilAcquire() { PyGILState_Release(state_); }
  GilAcquire(const GilAcquire&) = delete;
  GilAcquire& operator=(const GilAcquire&) = delete;

 private:
  PyGILState_STATE state_;
};

}  // namespace tensorlift
