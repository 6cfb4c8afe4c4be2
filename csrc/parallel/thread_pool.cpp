#include "parallel/thread_pool.h"

#include <ATen/Parallel.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#include "parallel/fork_safe_singleton.h"
#include "parallel/openmp_team.h"

namespace tensorlift {
namespace {

// More than any machine has cores, fewer than a typing error could ask for.
constexpr int kMaxWorkers = 256;

// How long a caller spins for the end of the last pieces before it sleeps. To be woken takes
// some 50 us on a virtual machine: the time to copy a megabyte.
constexpr auto kSpinTime = std::chrono::microseconds(50);

// Asks the scheduler for turns of 0.1 ms instead of its 3 ms or so (Linux 6.12 and newer; older
// ones need not be asked). A thread with shorter turns gets a core from one with longer turns as
// soon as it has work; without this our threads wait for whole turns of torch's, which after every
// operation spin for many milliseconds. All else stays as the thread inherited it.
void prefer_short_turns() {
#if defined(SYS_sched_setattr) && defined(SYS_sched_getattr)
  struct {
    std::uint32_t size;
    std::uint32_t policy;
    std::uint64_t flags;
    std::int32_t nice;
    std::uint32_t priority;
    std::uint64_t runtime;  // ns
    std::uint64_t deadline;
    std::uint64_t period;
  } attributes{};
  constexpr std::uint32_t kOrdinary = 0;  // SCHED_OTHER
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0) return;
  if (attributes.policy != kOrdinary) return;
  attributes.size = sizeof(attributes);
  attributes.runtime = 100'000;
  syscall(SYS_sched_setattr, 0, &attributes, 0);  // a wish; refused is no error
#endif
}

// The pool's threads do not spin for work. Where they do, they take the core from the caller or
// fight for it with torch's threads, which spin as well: 200 us of it made calls on a busy machine
// 200 us longer.
template <typename Predicate>
void spin_wait(Predicate has_happened) {
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  while (!has_happened() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
}

// One run_pieces() in progress; lives on its caller's stack.
struct ParallelRun {
  PieceFunction body;
  std::int64_t pieces;
  std::atomic<std::int64_t> next{0};
  std::atomic<int> active{0};  // workers inside work(); changed under the pool's mutex

  void work() noexcept {
    for (;;) {
      const std::int64_t piece = next.fetch_add(1, std::memory_order_relaxed);
      if (piece >= pieces) return;
      body(piece);
    }
  }
};

class Pool {
 public:
  void run(ParallelRun& run, int helpers) {
    {
      std::lock_guard lock(mutex_);
      start_workers(helpers);
      // An invitation each; whoever is free takes one.
      invitations_.insert(invitations_.end(), static_cast<std::size_t>(helpers), &run);
    }
    invited_.notify_all();
    run.work();
    {
      std::lock_guard lock(mutex_);
      std::erase(invitations_, &run);  // nothing is left to do for those who did not come
    }
    const auto all_left = [&run] { return run.active.load(std::memory_order_acquire) == 0; };
    spin_wait(all_left);
    std::unique_lock lock(mutex_);
    left_.wait(lock, all_left);
  }

 private:
  void start_workers(int wanted) {
    while (workers_ < std::min(wanted, kMaxWorkers)) {
      try {
        std::thread([this] { serve(); }).detach();
      } catch (const std::system_error&) {
        return;  // the machine has no more threads to give: those who are here do the work
      }
      ++workers_;
    }
  }

  [[noreturn]] void serve() {
    prefer_short_turns();
    std::unique_lock lock(mutex_);
    for (;;) {
      invited_.wait(lock, [this] { return !invitations_.empty(); });
      ParallelRun* run = invitations_.front();
      invitations_.pop_front();
      ++run->active;
      lock.unlock();
      run->work();
      lock.lock();
      if (--run->active == 0) left_.notify_all();  // from here on the run may be gone
    }
  }

  std::mutex mutex_;
  std::condition_variable invited_;
  std::condition_variable left_;
  std::deque<ParallelRun*> invitations_;
  int workers_ = 0;
};

ForkSafeSingleton<Pool> pool;

}  // namespace

void run_pieces(std::int64_t pieces, int threads, PieceFunction body) {
  const std::int64_t helpers = std::min<std::int64_t>(threads, pieces) - 1;
  ParallelRun run{body, pieces};
  if (helpers <= 0) return run.work();
  auto work = [&run](std::int64_t) noexcept { run.work(); };
  if (run_on_openmp_team(static_cast<int>(std::min<std::int64_t>(helpers + 1, kMaxWorkers)),
                         PieceFunction(work))) {
    return;
  }
  pool.get().run(run, static_cast<int>(std::min<std::int64_t>(helpers, kMaxWorkers)));
}

int default_threads() { return at::get_num_threads(); }

}  // namespace tensorlift
