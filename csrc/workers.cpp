#include "workers.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
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

// One run_pieces() in progress; lives on its caller's stack.
struct Run {
  PieceBody body;
  std::int64_t pieces;
  std::atomic<std::int64_t> next{0};
  int active = 0;  // workers inside work(); guarded by the pool's mutex

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
    }
    invited_.notify_all();
    run.work();
    std::unique_lock lock(mutex_);
    std::erase(invitations_, &run);  // nothing is left to do for those who did not come
    left_.wait(lock, [&run] { return run.active == 0; });
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
    std::unique_lock lock(mutex_);
    for (;;) {
      invited_.wait(lock, [this] { return !invitations_.empty(); });
      Run* run = invitations_.front();
      invitations_.pop_front();
      ++run->active;
      lock.unlock();
      run->work();
      lock.lock();
      if (--run->active == 0) left_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable invited_;
  std::condition_variable left_;
  std::deque<Run*> invitations_;
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

int default_threads() { return at::get_num_threads(); }

}  // namespace tensorlift
