#include "shm/segment_hold.h"

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

namespace tensorlift {
namespace {

// A fork may be under way on another thread for a while, and what is held meanwhile be inherited:
// so its beginning and its end count apart.
std::atomic<std::uint64_t> forks_begun{0};
std::atomic<std::uint64_t> forks_over{0};
[[maybe_unused]] const int kForkHandlers =
    pthread_atfork([] { forks_begun.fetch_add(1); }, [] { forks_over.fetch_add(1); },
                   [] { forks_over.store(forks_begun.load()); });

struct Hold {
  std::shared_ptr<Segment> segment;
  AfterHold after = nullptr;
  std::uint64_t forks_before = forks_over.load();
};

void end_hold(void* context) noexcept {
  const std::unique_ptr<Hold> hold(static_cast<Hold*>(context));
  if (hold->forks_before != forks_begun.load()) hold->segment->retire();
  hold->segment->let_go();
  hold->after(std::move(hold->segment));
}

}  // namespace

c10::DataPtr held(std::shared_ptr<Segment> segment, AfterHold after) {
  void* data = segment->data();
  std::unique_ptr<Hold> hold;
  try {
    hold = std::make_unique<Hold>();
  } catch (const std::bad_alloc&) {
    segment->let_go();
    throw;
  }
  hold->segment = std::move(segment);
  hold->after = after;
  return {data, hold.release(), &end_hold, c10::Device(c10::DeviceType::CPU)};
}

Segment* segment_of(const c10::DataPtr& memory) {
  const auto* hold = memory.cast_context<Hold>(&end_hold);
  return hold == nullptr ? nullptr : hold->segment.get();
}

}  // namespace tensorlift
