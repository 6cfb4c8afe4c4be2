// Failure: an allocation or a copy that is told in advance to fail.
#pragma once

#include <atomic>
#include <cstdint>

namespace fake {

class Failure {
 public:
  // The (after + 1)-th call of happens_now() from now is true, once; -1: none is.
  void arm(std::int64_t after) { remaining_ = after; }

  [[nodiscard]] bool happens_now() { return remaining_ >= 0 && remaining_.fetch_sub(1) == 0; }

 private:
  std::atomic<std::int64_t> remaining_{-1};
};

}  // namespace fake
