#include "workers.h"

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#include "build.h"
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

// Threads of our own, for when torch's cannot be used or are too few.
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

// GNU's OpenMP, whose threads torch's are, hangs in a child that was forked off after its first use
// (pytorch#17199).
std::atomic<bool> is_forked_child{false};
[[maybe_unused]] const int kForkHandler =
    pthread_atfork(nullptr, nullptr, [] { is_forked_child.store(true); });

// torch shows its threads to TensorIterator alone: an iterator over one place for each thread.
void run_on_torch_threads(Run& run, std::int64_t threads) {
  ImplArena arena(1);
  const at::Tensor places =
      build_empty(arena, static_cast<std::size_t>(threads), c10::kByte, threads);
  at::TensorIterator iterator = at::TensorIteratorConfig()
                                    .add_const_input(places)
                                    .set_check_mem_overlap(false)
                                    .check_all_same_dtype(false)
                                    .resize_outputs(false)
                                    .build();
  const auto work = [&run](char**, const std::int64_t*, std::int64_t, std::int64_t) { run.work(); };
  iterator.for_each(work, /*grain_size=*/1);
}

}  // namespace

void run_pieces(std::int64_t pieces, int threads, PieceBody body) {
  const std::int64_t helpers = std::min<std::int64_t>(threads, pieces) - 1;
  Run run{body, pieces};
  if (helpers <= 0) return run.work();
  if (threads <= default_threads() && !is_forked_child.load(std::memory_order_relaxed)) {
    return run_on_torch_threads(run, helpers + 1);
  }
  pool.get().run(run, static_cast<int>(std::min<std::int64_t>(helpers, kMaxWorkers)));
}

int default_threads() { return at::get_num_threads(); }

}  // namespace tensorlift
