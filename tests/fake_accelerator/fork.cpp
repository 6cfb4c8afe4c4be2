#include "fork.h"

#include <c10/util/Exception.h>
#include <pthread.h>

#include <atomic>

namespace fake {
namespace {

std::atomic<bool> was_used{false};
std::atomic<bool> is_lost{false};

[[maybe_unused]] const int watch = pthread_atfork(nullptr, nullptr, [] {
  if (was_used) is_lost = true;
});

}  // namespace

void mark_used() { was_used = true; }

bool is_in_bad_fork() { return is_lost; }

void refuse_bad_fork() {
  TORCH_CHECK(!is_lost, "fakeacc: the device cannot be used in a forked child of a process that ",
              "used it");
}

}  // namespace fake
