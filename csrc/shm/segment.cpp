#include "shm/segment.h"

#include <algorithm>

namespace tensorlift {
namespace {

// Of the number of an offer that another process than the owner has made.
constexpr std::uint64_t kSentOn = std::uint64_t{1} << 63;

}  // namespace

void Segment::remove_pages(std::size_t begin) const {
  file_->remove_pages(index_, begin);
  header().removals.fetch_add(1);
}

bool Segment::is_free() const {
  return header().holds.load(std::memory_order_acquire) == 0 && !is_retired();
}

bool Segment::take() {
  // In this order: whoever retires a segment holds it, and releases it afterwards.
  std::uint32_t none = 0;
  return is_free() && header().holds.compare_exchange_strong(none, 1);
}

std::optional<SegmentOffer> Segment::offer(std::size_t nbytes) {
  std::uint64_t number = header().offers_made.fetch_add(1) + 1;
  if (!file_->is_owned()) number |= kSentOn;
  for (std::uint32_t slot = 0; slot < header().offers.size(); ++slot) {
    std::uint64_t none = 0;
    if (!header().offers[slot].compare_exchange_strong(none, number)) continue;
    header().holds.fetch_add(1);
    return SegmentOffer{.place = file_->place(),
                        .identity = file_->identity(),
                        .index = static_cast<std::uint32_t>(index_),
                        .slot = slot,
                        .number = number,
                        .nbytes = nbytes};
  }
  return std::nullopt;
}

bool Segment::is_offered() const {
  const auto& offers = header().offers;
  return std::any_of(offers.begin(), offers.end(), [](const auto& open) { return open != 0; });
}

bool Segment::accept(const SegmentOffer& offer) {
  if (offer.slot >= header().offers.size() || offer.number == 0) return false;
  std::uint64_t number = offer.number;
  // The offer's hold is the caller's then.
  return header().offers[offer.slot].compare_exchange_strong(number, 0);
}

void Segment::withdraw_offers() {
  for (auto& offer : header().offers) {
    std::uint64_t number = offer.load();
    const bool is_own = number != 0 && (number & kSentOn) == 0;
    if (is_own && offer.compare_exchange_strong(number, 0)) release();
  }
}

void Segment::release() {
  const bool is_last = header().holds.fetch_sub(1) == 1;
  if (is_last && file_->is_forgotten() && !is_retired()) file_->remove_pages(index_, 0);
}

void Segment::retire() { header().is_retired.store(1); }

}  // namespace tensorlift
