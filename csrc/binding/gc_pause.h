// GcPause: no garbage collection starts between its begin() and its end().
#pragma once

#include "binding/python_api.h"

namespace tensorlift {

// Up to Python 3.11 every allocation of an object may start a collection, which walks over all
// young objects and runs finalizers: any Python code, in the middle of a native loop. Python 3.12
// waits until the interpreter is back at its own code; this does the same for the older ones.
// Measured on 3.11: a quarter of the time of making 1000 tensors went into collections that freed
// nothing.
//
// End it before anything that runs Python code on purpose: that may want to change the collector's
// state itself. GIL held from construction to destruction.
class GcPause {
 public:
  GcPause() { begin(); }
  ~GcPause() { end(); }
  GcPause(const GcPause&) = delete;
  GcPause& operator=(const GcPause&) = delete;

#if PY_VERSION_HEX < 0x030C0000
  void begin() { interrupted_ = PyGC_Disable() != 0; }
  void end() {
    if (interrupted_) PyGC_Enable();
    interrupted_ = false;
  }

 private:
  bool interrupted_ = false;  // it was enabled, and is to be so again
#else
  void begin() {}
  void end() {}
#endif
};

}  // namespace tensorlift
