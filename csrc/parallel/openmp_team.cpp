#include "parallel/openmp_team.h"

// ThreadSanitizer does not see what OpenMP's threads wait for, and would report all they do.
#if defined(__linux__) && !defined(__SANITIZE_THREAD__)

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "memory/build.h"

namespace tensorlift {
namespace {

// A thread of the team, known by the clock of the processor time that it has used.
struct Member {
  std::atomic<bool> is_known{false};
  clockid_t clock{};
};
Member member;  // number 1 of the main thread's team, which takes part in every run

std::atomic<bool> is_forked_child{false};
[[maybe_unused]] const int kForkHandler =
    pthread_atfork(nullptr, nullptr, [] { is_forked_child.store(true); });

bool is_main_thread() { return syscall(SYS_gettid) == getpid(); }

// Does it use processor time at this moment?
bool is_awake() {
  timespec before{};
  timespec after{};
  const bool is_there =
      clock_gettime(member.clock, &before) == 0 && clock_gettime(member.clock, &after) == 0;
  if (!is_there) member.is_known = false;  // torch has ended it: torch.set_num_threads()
  return is_there && (before.tv_sec != after.tv_sec || before.tv_nsec != after.tv_nsec);
}

void get_to_know_this_thread() {
  clockid_t clock{};
  if (pthread_getcpuclockid(pthread_self(), &clock) != 0) return;
  member.clock = clock;
  member.is_known = true;
}

}  // namespace

bool run_on_openmp_team(int threads, PieceFunction body) {
  if (threads > at::get_num_threads() || at::in_parallel_region()) return false;
  if (is_forked_child || !is_main_thread()) return false;
  if (member.is_known && !is_awake()) return false;  // at first it is not known: to find out

  // torch shows its threads to TensorIterator alone: an iterator over one place for each thread.
  TensorArena arena(1);
  const at::Tensor places = build_empty(arena, static_cast<std::size_t>(threads), c10::kByte,
                                        static_cast<std::int64_t>(threads));
  at::TensorIterator iterator = at::TensorIteratorConfig()
                                    .add_const_input(places)
                                    .set_check_mem_overlap(false)
                                    .check_all_same_dtype(false)
                                    .resize_outputs(false)
                                    .build();
  const char* first = static_cast<const char*>(places.const_data_ptr());
  const auto visit = [&](char** place, const std::int64_t* strides, std::int64_t columns,
                         std::int64_t rows) {
    if (!member.is_known && at::get_thread_num() == 1) get_to_know_this_thread();
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t column = 0; column < columns; ++column) {
        body(place[0] + row * strides[1] + column * strides[0] - first);
      }
    }
  };
  iterator.for_each(visit, /*grain_size=*/1);
  return true;
}

}  // namespace tensorlift

#else

namespace tensorlift {

bool run_on_openmp_team(int, PieceFunction) { return false; }

}  // namespace tensorlift

#endif
