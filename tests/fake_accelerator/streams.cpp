#include "streams.h"

#include <c10/util/Exception.h>

#include <chrono>
#include <utility>

#include "counters.h"
#include "fork.h"

namespace fake {
namespace {

constexpr const char* kBlocked = "fakeacc: waited for a stream that is blocked";

// For the log.
std::string name_of(StreamIndex stream) {
  std::string name = " stream " + std::to_string(number_of(stream));
  if (device_of(stream) != 0) name += " device " + std::to_string(device_of(stream));
  return name;
}

}  // namespace

Streams& streams() {
  static auto* const instance = new Streams();
  return *instance;
}

// ---- the program's side ----

void Streams::enqueue(StreamIndex stream, std::string what, std::function<void()> run) {
  enqueue(stream, {.what = std::move(what), .run = std::move(run), .waits_for = std::nullopt});
}

void Streams::run_and_wait(StreamIndex stream, std::string what, std::function<void()> run) {
  refuse_bad_fork();
  mark_used();
  std::unique_lock lock(mutex_);
  refuse_wait_while_capturing();
  TORCH_CHECK(!is_stuck({stream, queues_[stream].issued}), kBlocked);
  const Mark mark =
      append(stream, {.what = std::move(what), .run = std::move(run), .waits_for = std::nullopt});
  finish(mark, lock);
}

void Streams::enqueue_wait(StreamIndex stream, Mark mark) {
  enqueue(stream, {.what = "", .run = nullptr, .waits_for = mark});
}

void Streams::block(StreamIndex stream) {
  enqueue(stream, {.what = "", .run = nullptr, .waits_for = std::nullopt, .is_blocked = true});
}

void Streams::enqueue(StreamIndex stream, Operation operation) {
  refuse_bad_fork();
  mark_used();
  const std::lock_guard lock(mutex_);
  append(stream, std::move(operation));
}

Mark Streams::issued(StreamIndex stream) {
  const std::lock_guard lock(mutex_);
  return {stream, queues_[stream].issued};
}

bool Streams::has_run(Mark mark) {
  const std::lock_guard lock(mutex_);
  return is_done(mark);
}

bool Streams::poll(Mark mark) {
  constexpr std::uint64_t kPatience = 4;
  const std::lock_guard lock(mutex_);
  if (is_done(mark)) return true;
  if (mode_ != Mode::kLazy || ++polls_ % kPatience != 0 || is_stuck(mark)) return false;
  run_until(mark);
  return true;
}

void Streams::wait(Mark mark) {
  refuse_bad_fork();
  std::unique_lock lock(mutex_);
  refuse_wait_while_capturing();
  finish(mark, lock);
  TORCH_CHECK(is_done(mark), kBlocked);
}

void Streams::wait_for_device(int device) {
  for (int number = 0; number < kStreamsPerDevice; ++number) {
    wait(issued(stream_index(device, number)));
  }
}

void Streams::settle(StreamIndex stream) noexcept {
  if (is_in_bad_fork()) return;
  std::unique_lock lock(mutex_);
  const Mark mark{stream, queues_[stream].issued};
  if (is_stuck(mark)) {
    count(Counter::kForbiddenWait);
    open_gates();
  }
  finish(mark, lock);
}

void Streams::unblock() {
  const std::lock_guard lock(mutex_);
  open_gates();
}

void Streams::set_mode(Mode mode, int delay_us) {
  for (int device = 0; device < kDevices; ++device) wait_for_device(device);
  stop_thread();
  {
    const std::lock_guard lock(mutex_);
    mode_ = mode;
    delay_us_ = delay_us;
    polls_ = 0;
  }
  if (mode == Mode::kThread) thread_ = std::thread([this] { run_on_thread(); });
}

void Streams::set_capturing(bool is_capturing) {
  const std::lock_guard lock(mutex_);
  is_capturing_ = is_capturing;
}

bool Streams::is_capturing() {
  const std::lock_guard lock(mutex_);
  return is_capturing_;
}

std::int64_t Streams::pending() {
  const std::lock_guard lock(mutex_);
  std::int64_t sum = 0;
  for (const Queue& queue : queues_) sum += static_cast<std::int64_t>(queue.operations.size());
  return sum;
}

std::vector<std::string> Streams::log() {
  const std::lock_guard lock(mutex_);
  return log_;
}

void Streams::clear_log() {
  const std::lock_guard lock(mutex_);
  log_.clear();
}

// ---- the device's side ----

Mark Streams::append(StreamIndex stream, Operation operation) {
  if (!operation.what.empty()) operation.what += name_of(stream);
  if (operation.is_blocked) ++gates_;
  Queue& queue = queues_[stream];
  queue.operations.push_back(std::move(operation));
  const Mark mark{stream, ++queue.issued};
  if (mode_ == Mode::kEager && !is_stuck(mark)) run_until(mark);
  changed_.notify_all();
  return mark;
}

void Streams::refuse_wait_while_capturing() const {
  TORCH_CHECK(!is_capturing_,
              "fakeacc: synchronisation is not permitted while a stream is capturing");
}

bool Streams::is_done(Mark mark) const { return queues_[mark.stream].done >= mark.count; }

// May the first operation of the queue run?
bool Streams::is_ready(const Queue& queue) const {
  if (queue.operations.empty()) return false;
  const Operation& first = queue.operations.front();
  return !first.is_blocked && (!first.waits_for || is_done(*first.waits_for));
}

// Is there a blocked operation in what `mark` depends on? Looks at each operation once: an
// operation depends on earlier ones only, so that what was seen of a stream never needs to be seen
// again.
bool Streams::is_stuck(Mark mark) const {
  if (gates_ == 0) return false;
  std::array<std::uint64_t, kStreams> seen;
  for (StreamIndex stream = 0; stream < kStreams; ++stream) seen[stream] = queues_[stream].done;
  const std::function<bool(Mark)> is_stuck_from_here = [&](Mark until) {
    const Queue& queue = queues_[until.stream];
    while (seen[until.stream] < until.count) {
      const Operation& operation = queue.operations[seen[until.stream] - queue.done];
      if (operation.is_blocked) return true;
      if (operation.waits_for && is_stuck_from_here(*operation.waits_for)) return true;
      ++seen[until.stream];
    }
    return false;
  };
  return is_stuck_from_here(mark);
}

void Streams::run_next(StreamIndex stream) {
  Queue& queue = queues_[stream];
  const Operation operation = std::move(queue.operations.front());
  queue.operations.pop_front();
  ++queue.done;
  if (!operation.what.empty()) log_.push_back(operation.what);
  if (operation.run) operation.run();
  changed_.notify_all();
}

// Runs exactly what was asked for and what that depends on. Nothing of it may be stuck.
void Streams::run_until(Mark mark) {
  const Queue& queue = queues_[mark.stream];
  while (queue.done < mark.count) {
    const std::optional<Mark> dependency = queue.operations.front().waits_for;
    if (dependency) run_until(*dependency);
    run_next(mark.stream);
  }
}

// Returns when `mark` has run or is stuck.
void Streams::finish(Mark mark, std::unique_lock<std::mutex>& lock) {
  if (mode_ == Mode::kThread) {
    changed_.wait(lock, [&] { return is_done(mark) || is_stuck(mark); });
  } else if (!is_stuck(mark)) {
    run_until(mark);
  }
}

void Streams::open_gates() {
  for (Queue& queue : queues_) {
    for (Operation& operation : queue.operations) operation.is_blocked = false;
  }
  gates_ = 0;
  if (mode_ == Mode::kEager) {
    for (StreamIndex stream = 0; stream < kStreams; ++stream) {
      run_until({stream, queues_[stream].issued});
    }
  }
  changed_.notify_all();
}

void Streams::stop_thread() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    should_stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
  should_stop_ = false;
}

void Streams::run_on_thread() {
  std::unique_lock lock(mutex_);
  while (!should_stop_) {
    std::vector<StreamIndex> ready;
    for (StreamIndex stream = 0; stream < kStreams; ++stream) {
      if (is_ready(queues_[stream])) ready.push_back(stream);
    }
    if (ready.empty()) {
      changed_.wait(lock);
      continue;
    }
    if (delay_us_ > 0) {
      lock.unlock();
      std::this_thread::sleep_for(std::chrono::microseconds(delay_us_));
      lock.lock();
    }
    // Still ready: only this thread takes operations away.
    run_next(ready[random_() % ready.size()]);
  }
}

}  // namespace fake
