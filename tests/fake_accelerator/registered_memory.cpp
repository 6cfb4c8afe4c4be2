#include "registered_memory.h"

#include <c10/util/Exception.h>
#include <sys/mman.h>
#include <unistd.h>

#include <iterator>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "counters.h"
#include "failure.h"
#include "fork.h"

namespace fake {
namespace {

constexpr int kOutOfMemory = 2;
constexpr int kIsRegistered = 712;
constexpr int kIsNotRegistered = 713;

// Never destroyed: copies may run while the process ends.
struct Registered {
  std::mutex mutex;
  std::map<std::uintptr_t, std::size_t> ranges;
  std::int64_t nbytes = 0;
};
Registered& registered() {
  static auto* const instance = new Registered();
  return *instance;
}

Failure refusal;
thread_local int last_error = 0;  // as CUDA has it

int refused(int error) {
  count(Counter::kHostRegisterMiss);
  last_error = error;
  return error;
}

bool is_mapped(std::uintptr_t address, std::size_t nbytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((nbytes + page - 1) / page);
  return mincore(reinterpret_cast<void*>(address), nbytes, pages.data()) == 0;
}

}  // namespace

int register_memory(std::uintptr_t address, std::size_t nbytes) {
  refuse_bad_fork();
  mark_used();
  if (refusal.happens_now()) return refused(kOutOfMemory);
  Registered& all = registered();
  const std::lock_guard lock(all.mutex);
  const auto next = all.ranges.lower_bound(address);
  const bool overlaps_next = next != all.ranges.end() && next->first < address + nbytes;
  const bool overlaps_last =
      next != all.ranges.begin() && std::prev(next)->first + std::prev(next)->second > address;
  if (overlaps_next || overlaps_last) return refused(kIsRegistered);
  all.ranges.emplace(address, nbytes);
  all.nbytes += static_cast<std::int64_t>(nbytes);
  count(Counter::kHostRegister);
  return 0;
}

int unregister_memory(std::uintptr_t address) {
  refuse_bad_fork();
  Registered& all = registered();
  const std::lock_guard lock(all.mutex);
  const auto found = all.ranges.find(address);
  if (found == all.ranges.end()) {
    count(Counter::kHostUnregisterMiss);
    return kIsNotRegistered;
  }
  count(is_mapped(found->first, found->second) ? Counter::kHostUnregister
                                               : Counter::kHostUnregisterMiss);
  all.nbytes -= static_cast<std::int64_t>(found->second);
  all.ranges.erase(found);
  return 0;
}

bool is_registered(const void* address) {
  if (is_in_bad_fork()) return false;
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  Registered& all = registered();
  const std::lock_guard lock(all.mutex);
  auto next = all.ranges.upper_bound(wanted);
  if (next == all.ranges.begin()) return false;
  --next;
  return wanted < next->first + next->second;
}

std::int64_t registered_bytes() {
  const std::lock_guard lock(registered().mutex);
  return registered().nbytes;
}

void refuse_registration(std::int64_t after) { refusal.arm(after); }

void report_last_error() {
  const int error = std::exchange(last_error, 0);
  TORCH_CHECK(error == 0, "fakeacc: error ", error, " of an earlier registration");
}

}  // namespace fake
