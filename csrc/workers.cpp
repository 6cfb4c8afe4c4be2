#include "workers.h"

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

#include "per_process.h"

namespace tensorlift {
namespace {

// More than any machine has cores, fewer than a typing error could ask for.
constexpr int kMaxWorkers = 256;

// How long a thread looks out for what is about to happen before it sleeps. Asleep it misses some
// 50 us on a virtual machine: the time to copy a megabyte. But no thread looks out for what may
// never come: it would fight for the core with torch's threads, which do.
constexpr auto kLookoutForWork = std::chrono::microseconds(200);
constexpr auto kLookoutForTheLast = std::chrono::microseconds(50);

// Asks the scheduler for turns of 0.1 ms instead of its 3 ms or so (Linux 6.12 and newer; older
// ones need not be asked). A thread with shorter turns gets a core from one with longer turns as
// soon as it has work; without this our threads wait for whole turns of torch's, which after every
// operation spin for many milliseconds.
void prefer_short_turns() {
#if defined(SYS_sched_setattr)
  struct {
    std::uint32_t size;
    std::uint32_t policy;
    std::uint64_t flags;
    std::int32_t nice;
    std::uint32_t priority;
    std::uint64_t runtime;  // ns
    std::uint64_t deadline;
    std::uint64_t period;
  } attributes{};  // SCHED_OTHER, nice 0
  attributes.size = sizeof(attributes);
  attributes.runtime = 100'000;
  syscall(SYS_sched_setattr, 0, &attributes, 0);  // a wish; refused is no error
#endif
}

// Does not yield: to a spinning thread of torch's that would be for milliseconds.
template <typename Predicate>
void look_out(std::chrono::microseconds how_long, Predicate has_happened) {
  const auto deadline = std::chrono::steady_clock::now() + how_long;
  while (!has_happened() && std::chrono::steady_clock::now() < deadline) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

// One run_pieces() in progress; lives on its caller's stack.
struct Run {
  PieceBody body;
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
  void run(Run& run, int helpers) {
    {
      std::lock_guard lock(mutex_);
      start_workers(helpers);
      // An invitation each; whoever is free takes one.
      invitations_.insert(invitations_.end(), static_cast<std::size_t>(helpers), &run);
      invited_.store(true, std::memory_order_relaxed);
    }
    news_.notify_all();
    run.work();
    {
      std::lock_guard lock(mutex_);
      std::erase(invitations_, &run);  // nothing is left to do for those who did not come
      invited_.store(!invitations_.empty(), std::memory_order_relaxed);
    }
    const auto all_left = [&run] { return run.active.load(std::memory_order_acquire) == 0; };
    look_out(kLookoutForTheLast, all_left);
    std::unique_lock lock(mutex_);
    left_.wait(lock, all_left);
  }

  void rouse(int helpers) {
    {
      std::lock_guard lock(mutex_);
      start_workers(helpers);
      roused_ = helpers;
    }
    news_.notify_all();
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
      news_.wait(lock, [this] { return !invitations_.empty() || roused_ > 0; });
      if (!invitations_.empty()) {
        accept(lock);
      } else {
        --roused_;
        lock.unlock();
        look_out(kLookoutForWork, [this] { return invited_.load(std::memory_order_relaxed); });
        lock.lock();
      }
    }
  }

  void accept(std::unique_lock<std::mutex>& lock) {
    Run* run = invitations_.front();
    invitations_.pop_front();
    invited_.store(!invitations_.empty(), std::memory_order_relaxed);
    ++run->active;
    lock.unlock();
    run->work();
    lock.lock();
    if (--run->active == 0) left_.notify_all();  // from here on the run may be gone
  }

  std::mutex mutex_;
  std::condition_variable news_;
  std::condition_variable left_;
  std::deque<Run*> invitations_;
  std::atomic<bool> invited_{false};  // !invitations_.empty(), to be read without the mutex
  int roused_ = 0;                    // workers to wake up although there is no work yet
  int workers_ = 0;
};

PerProcess<Pool> pool;

}  // namespace

void run_pieces(std::int64_t pieces, int threads, PieceBody body) {
  const std::int64_t helpers = std::min<std::int64_t>(threads, pieces) - 1;
  Run run{body, pieces};
  if (helpers <= 0) return run.work();
  pool.get().run(run, static_cast<int>(std::min<std::int64_t>(helpers, kMaxWorkers)));
}

void rouse_workers(int threads) {
  const int helpers = std::min(threads - 1, kMaxWorkers);
  if (helpers > 0) pool.get().rouse(helpers);
}

int default_threads() { return at::get_num_threads(); }

}  // namespace tensorlift
