// Check: what must hold, or the process ends, which fuzzers and tests take for a finding.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace tensorlift::native {

inline void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

}  // namespace tensorlift::native
