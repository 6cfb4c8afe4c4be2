// Runs all engine tests. Built with a thread sanitizer: python tests/native/run.py tsan
#include <cstdio>

#include "engine_tests.h"

int main() {
  tensorlift::native::test_pool();
  tensorlift::native::test_copy();
  tensorlift::native::test_memory();
  tensorlift::native::test_ring();
  tensorlift::native::test_segments();
  std::puts("pool, copy engine, kept blocks, staging ring and segments: passed");
  return 0;
}
