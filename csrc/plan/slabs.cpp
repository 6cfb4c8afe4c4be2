#include "plan/slabs.h"

#include <algorithm>

#include "copy/gather.h"
#include "errors.h"

namespace tensorlift {
namespace {

using Pair = std::pair<c10::ScalarType, c10::ScalarType>;

std::size_t checked(std::int64_t bytes, bool overflow) {
  if (overflow) throw ValueError("arrays: expected tensors within 64 bits of bytes, got more.");
  return static_cast<std::size_t>(bytes);
}

std::size_t sum_of(std::size_t a, std::size_t b) {
  std::int64_t sum = 0;
  const bool overflow = __builtin_add_overflow(a, b, &sum);
  return checked(sum, overflow);
}

std::size_t product_of(std::size_t a, std::size_t b) {
  std::int64_t product = 0;
  const bool overflow = __builtin_mul_overflow(a, b, &product);
  return checked(product, overflow);
}

std::size_t aligned(std::size_t bytes) {
  return sum_of(bytes, kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
}

bool is_plain_number(c10::ScalarType type) {
  switch (type) {
    case c10::kBool:
    case c10::kByte:
    case c10::kChar:
    case c10::kShort:
    case c10::kInt:
    case c10::kLong:
    case c10::kHalf:
    case c10::kBFloat16:
    case c10::kFloat:
    case c10::kDouble:
      return true;
    default:
      return false;
  }
}

// The pairs of dtypes whose casts are left to the device, because together they save enough.
std::vector<Pair> pairs_for_the_device(const Sources& sources, c10::ScalarType dtype) {
  std::vector<std::pair<Pair, std::size_t>> savings;
  sources.for_each_form([&](const Sources::Form& form, std::size_t begin, std::size_t end) {
    const Pair pair{form.element.twin, dtype};
    if (!is_for_the_device(pair.first, dtype)) return;
    auto saved = std::find_if(savings.begin(), savings.end(),
                              [&pair](const auto& entry) { return entry.first == pair; });
    if (saved == savings.end()) saved = savings.insert(savings.end(), {pair, 0});
    const std::size_t of_each = c10::elementSize(dtype) - form.element.itemsize;
    saved->second += (end - begin) * static_cast<std::size_t>(form.numel) * of_each;
  });
  std::vector<Pair> pairs;
  for (const auto& [pair, bytes] : savings) {
    if (bytes >= kCastOnDeviceFrom) pairs.push_back(pair);
  }
  return pairs;
}

class Planner {
 public:
  Planner(const Sources& sources, std::optional<c10::ScalarType> dtype, bool casts_later,
          std::size_t own_from)
      : dtype_(dtype), own_from_(own_from) {
    if (dtype && casts_later) later_ = pairs_for_the_device(sources, *dtype);
    sources.for_each_form([this](const Sources::Form& form, std::size_t begin, std::size_t end) {
      place(form, end - begin);
    });
    number_slabs();
  }
  Slabs take() { return std::move(plan_); }

 private:
  void place(const Sources::Form& form, std::size_t count) {
    const c10::ScalarType dtype = dtype_.value_or(form.element.twin);
    const bool is_later =
        std::find(later_.begin(), later_.end(), Pair(form.element.twin, dtype)) != later_.end();
    const c10::ScalarType packed = is_later ? form.element.twin : dtype;
    const auto numel = static_cast<std::size_t>(form.numel);
    const std::size_t nbytes = product_of(numel, c10::elementSize(packed));
    const std::size_t result_bytes = product_of(numel, c10::elementSize(dtype));
    const Pair pair = is_later ? Pair(packed, dtype) : Pair(c10::kByte, c10::kByte);
    if (result_bytes >= own_from_) {
      plan_.places.push_back({own_.size(), 0, 0, packed, dtype});
      own_.insert(own_.end(), count, Slab{pair.first, pair.second, true, nbytes});
      is_own_.push_back(true);
      return;
    }
    auto slab = std::find_if(shared_.begin(), shared_.end(),
                             [&pair](const Slab& s) { return Pair(s.packed, s.dtype) == pair; });
    if (slab == shared_.end()) {
      slab = shared_.insert(shared_.end(), {pair.first, pair.second, false, 0});
    }
    const std::size_t step = aligned(nbytes);
    plan_.places.push_back(
        {static_cast<std::size_t>(slab - shared_.begin()), slab->nbytes, step, packed, dtype});
    slab->nbytes = sum_of(slab->nbytes, product_of(step, count));
    is_own_.push_back(false);
  }

  void number_slabs() {
    for (std::size_t f = 0; f < is_own_.size(); ++f) {
      if (is_own_[f]) plan_.places[f].slab += shared_.size();
    }
    plan_.slabs = std::move(shared_);
    plan_.slabs.insert(plan_.slabs.end(), own_.begin(), own_.end());
    std::size_t nbytes = 0;
    for (const Slab& slab : plan_.slabs) nbytes = sum_of(nbytes, aligned(slab.nbytes));  // checks
  }

  const std::optional<c10::ScalarType> dtype_;
  const std::size_t own_from_;
  std::vector<Pair> later_;
  std::vector<Slab> shared_, own_;
  std::vector<bool> is_own_;  // for each form
  Slabs plan_;
};

}  // namespace

bool is_for_the_device(c10::ScalarType from, c10::ScalarType to) {
  if (!is_plain_number(from) || !is_plain_number(to)) return false;
  if (c10::elementSize(to) <= c10::elementSize(from)) return false;
  // A float that no integer has (infinity, NaN) becomes another one on every device.
  return !c10::isFloatingType(from) || c10::isFloatingType(to);
}

Slabs plan_slabs(const Sources& sources, std::optional<c10::ScalarType> dtype, bool casts_later,
                 std::size_t own_from) {
  return Planner(sources, dtype, casts_later, own_from).take();
}

}  // namespace tensorlift
