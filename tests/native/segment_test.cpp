// Segments of one process, which it sends to itself: memory that is written too early is wrong
// data.
#include <c10/core/Storage.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "../../csrc/errors.h"
#include "../../csrc/shm/received_segments.h"
#include "../../csrc/shm/segment_hold.h"
#include "../../csrc/shm/segment_pool.h"
#include "../../csrc/shm/send_segment.h"
#include "check.h"
#include "engine_tests.h"
#include "threads.h"

namespace tensorlift::native {
namespace {

constexpr int kThreads = 6;
constexpr int kRounds = 300;

// Memory that is full of one number, from when it is made until it is let go of.
class Full {
 public:
  Full(const SegmentHoldPtr& hold, std::size_t count, std::uint32_t number)
      : storage_(storage_of(hold, count)), count_(count), number_(number) {}
  Full(Full&&) = default;
  Full& operator=(Full&&) = default;
  Full(const Full&) = delete;
  Full& operator=(const Full&) = delete;
  ~Full() {
    if (!storage_) return;  // moved elsewhere
    check(is_right(), "what is held is not written");
  }

  void fill() { std::fill_n(begin(), count_, number_); }

  [[nodiscard]] bool is_right() const {
    return std::all_of(begin(), begin() + count_, [this](auto n) { return n == number_; });
  }

  [[nodiscard]] std::optional<SegmentOffer> offer() const {
    const SegmentHoldPtr hold = place_of(storage_)->hold;
    return hold->segment().offer(hold->nbytes());
  }

  // The same, sent by one that has received it.
  [[nodiscard]] Full send_on() const {
    SentSegment sent = send_segment(*place_of(storage_)->hold, /*is_looked_up=*/true);
    const auto open = [&sent] { return duplicate(sent.file.number()); };
    return {accept_segment(sent.offer, open), count_, number_};
  }

  // The same, received.
  [[nodiscard]] Full accept(const SegmentOffer& offer) const {
    const auto open = [&offer] { return duplicate(offer.place.descriptor); };
    return {accept_segment(offer, open), count_, number_};
  }

 private:
  static c10::Storage storage_of(const SegmentHoldPtr& hold, std::size_t count) {
    TensorArena arena(1);
    return storage_in(hold, arena, 0, count * sizeof(std::uint32_t));
  }
  [[nodiscard]] std::uint32_t* begin() const {
    return static_cast<std::uint32_t*>(storage_.mutable_data());
  }

  c10::Storage storage_;
  std::size_t count_;
  std::uint32_t number_;
};

// Nothing where too many segments are on their way.
std::optional<Full> make(std::size_t count, std::uint32_t number) {
  const SegmentHoldPtr hold = allocate_segment(count * sizeof(std::uint32_t));
  if (!hold) return std::nullopt;
  Full made(hold, count, number);
  made.fill();
  return made;
}

// What threads hand to each other, so that another one lets go.
class Shelf {
 public:
  void put(Full full) {
    std::optional<Full> oldest;  // outlives the lock
    const std::lock_guard lock(mutex_);
    kept_.push_back(std::move(full));
    if (kept_.size() <= kPlaces) return;
    oldest.emplace(std::move(kept_.front()));
    kept_.pop_front();
  }

 private:
  static constexpr std::size_t kPlaces = 10;
  std::mutex mutex_;
  std::deque<Full> kept_;
};

// Of varying sizes, some larger than one page, sent once or twice or not at all.
void send_and_keep(int thread, Shelf& shelf) {
  for (int round = 0; round < kRounds; ++round) {
    const auto number = static_cast<std::uint32_t>(thread * kRounds + round);
    const std::size_t large = number % 13 == 0 ? 70'000 : 0;  // in a file alone
    std::optional<Full> made = make(10 + 97 * (number % 31) + large, number);
    if (!made) continue;
    for (int copy = 0; copy < round % 3; ++copy) {
      const auto offer = made->offer();
      if (!offer) continue;
      Full received = made->accept(*offer);
      if (round % 5 == 0) shelf.put(received.send_on());
      shelf.put(std::move(received));
    }
    if (round % 4 == 0) shelf.put(*std::move(made));
    if (round % 50 == 49) empty_segment_pool();
    if (round % 70 == 69) empty_received_segments();
  }
}

void test_what_is_kept() {
  {
    Shelf shelf;
    on_threads(kThreads, [&shelf](int thread) { send_and_keep(thread, shelf); });
  }
  check(idle_received_bytes() > 0 && idle_segment_bytes() > 0, "segments are kept for a next time");
  empty_segment_pool();
  empty_received_segments();
  check(idle_received_bytes() == 0 && idle_segment_bytes() == 0, "all segments are given back");
}

// All threads send the same and receive their own, and then one other offer all of them.
void test_one_receiver() {
  for (std::uint32_t round = 0; round < 100; ++round) {
    const std::optional<Full> made = make(10, round);
    const std::optional<SegmentOffer> offer = made->offer();
    std::atomic<int> received{0};
    on_threads(kThreads, [&](int /*thread*/) {
      const Full own = made->accept(*made->offer());
      try {
        const Full full = made->accept(*offer);
        ++received;
      } catch (const RuntimeError&) {  // another was first
      }
    });
    check(received == 1, "what is sent is received once");
  }
  empty_segment_pool();
  empty_received_segments();
}

// All threads ask for the same storages of one segment, and let go of them.
void test_storages_of_one_segment() {
  SegmentHoldPtr hold = allocate_segment(4096);
  on_threads(kThreads, [&hold](int /*thread*/) {
    TensorArena arena(1);
    for (std::size_t round = 0; round < kRounds; ++round) {
      const std::size_t begin = 64 * (round % 4);
      const c10::Storage first = storage_in(hold, arena, begin, 64);
      const c10::Storage second = storage_in(hold, arena, begin, 64);
      check(first.is_alias_of(second), "the same bytes are one storage");
      check(place_of(first)->begin == begin, "a storage lies where it was asked for");
    }
  });
  hold.reset();
  empty_segment_pool();
}

// A segment is neither used again nor forgotten as long as one of its offers is open.
void test_open_offers() {
  std::optional<Full> sent = make(10, 1);
  std::vector<SegmentOffer> offers;
  while (const auto offer = sent->offer()) offers.push_back(*offer);
  check(offers.size() == 32, "an offer for each bit");
  sent.reset();
  empty_segment_pool();
  for (const SegmentOffer& offer : offers) {
    const auto open = [&offer] { return duplicate(offer.place.descriptor); };
    const std::optional<Full> other = make(10, 2);
    const Full full(accept_segment(offer, open), 10, 1);
    check(other->is_right(), "another segment is used");
  }
  const std::optional<SegmentOffer> next = make(10, 3)->offer();
  check(next->identity == offers[0].identity && next->index == offers[0].index,
        "then it is used again");
  empty_segment_pool();
  empty_received_segments();
}

}  // namespace

void test_segments() {
  if (!has_segments()) return;
  test_what_is_kept();
  test_one_receiver();
  test_storages_of_one_segment();
  test_open_offers();
}

}  // namespace tensorlift::native
