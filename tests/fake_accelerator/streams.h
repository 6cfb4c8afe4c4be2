// Streams: queues of operations that run as late as the program allows, at once, or on a thread
// after a delay. All functions may be called by any thread, with or without the GIL.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "current.h"

namespace fake {

enum class Mode : std::uint8_t {
  kEager,   // an operation runs when it is enqueued
  kLazy,    // ... when somebody waits for it, and nothing runs that was not asked for
  kThread,  // ... on a thread, after a delay, in any order that the program allows
};

// The first `count` operations that a stream was ever given.
struct Mark {
  StreamIndex stream;
  std::uint64_t count;
};

class Streams {
 public:
  // Appends an operation. `what` is for the log. Throws c10::Error in a bad fork.
  void enqueue(StreamIndex stream, std::string what, std::function<void()> run);

  // Appends an operation on memory that the caller may free afterwards, and waits for it. Throws as
  // wait() does, and then has not appended it.
  void run_and_wait(StreamIndex stream, std::string what, std::function<void()> run);

  // What is enqueued on `stream` from now on waits for `mark`; the host does not.
  void enqueue_wait(StreamIndex stream, Mark mark);

  // Everything that was enqueued on the stream so far.
  [[nodiscard]] Mark issued(StreamIndex stream);

  [[nodiscard]] bool has_run(Mark mark);

  // As has_run(), but a lazy stream gives in to every fourth call, so that polling ends.
  [[nodiscard]] bool poll(Mark mark);

  // Waits on the host. Throws c10::Error while capturing, in a bad fork, and where `mark` depends
  // on a stream that is blocked.
  void wait(Mark mark);
  void wait_for_device(int device);

  // Runs what is enqueued, for memory that is being freed: in no program is this a wait, so that it
  // does not throw. Where a blocked stream is in the way it is counted (forbidden_wait) and
  // unblocked.
  void settle(StreamIndex stream) noexcept;

  // What is enqueued on the stream from now on cannot run until unblock().
  void block(StreamIndex stream);
  void unblock();

  // Runs what is left in the old mode first. `delay_us` is the thread's, before each operation.
  void set_mode(Mode mode, int delay_us);

  // While capturing, every wait on the host is an error.
  void set_capturing(bool is_capturing);
  [[nodiscard]] bool is_capturing();

  // Operations that have not run yet.
  [[nodiscard]] std::int64_t pending();

  // What ran, in the order in which it ran: "h2d 4096 stream 1", with " device 1" for the second.
  [[nodiscard]] std::vector<std::string> log();
  void clear_log();

 private:
  struct Operation {
    std::string what;
    std::function<void()> run;
    std::optional<Mark> waits_for;
    bool is_blocked = false;
  };
  struct Queue {
    std::deque<Operation> operations;
    std::uint64_t issued = 0;
    std::uint64_t done = 0;
  };

  void enqueue(StreamIndex stream, Operation operation);

  // The following want the lock to be held.
  Mark append(StreamIndex stream, Operation operation);
  void refuse_wait_while_capturing() const;
  [[nodiscard]] bool is_done(Mark mark) const;
  [[nodiscard]] bool is_ready(const Queue& queue) const;
  [[nodiscard]] bool is_stuck(Mark mark) const;
  void run_next(StreamIndex stream);
  void run_until(Mark mark);
  void finish(Mark mark, std::unique_lock<std::mutex>& lock);
  void open_gates();

  void stop_thread();
  void run_on_thread();

  std::mutex mutex_;  // held while an operation runs; operations take no other lock
  std::condition_variable changed_;
  std::array<Queue, kStreams> queues_;
  int gates_ = 0;  // how many operations are blocked
  Mode mode_ = Mode::kLazy;
  bool is_capturing_ = false;
  std::uint64_t polls_ = 0;
  std::vector<std::string> log_;

  std::thread thread_;
  bool should_stop_ = false;
  int delay_us_ = 0;
  std::mt19937 random_{1};
};

// The one and only; never destroyed, since its thread may outlive main().
[[nodiscard]] Streams& streams();

}  // namespace fake
