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

// Bytes that the cast of an array saves on the way to the device.
std::size_t saving(const Sources::Signature& signature, c10::ScalarType dtype) {
  if (!is_for_the_device(signature.element.dtype, dtype)) return 0;
  const std::size_t of_each = c10::elementSize(dtype) - signature.element.itemsize;
  return product_of(static_cast<std::size_t>(signature.numel), of_each);
}

class Planner {
 public:
  Planner(const Sources& sources, std::optional<c10::ScalarType> dtype, Packing packing)
      : dtype_(dtype), own_from_(packing == Packing::kAlone ? 0 : kOwnSlabFrom) {
    sources.for_each_signature([this](const Sources::Signature& signature, std::size_t begin,
                                      std::size_t end) { add_saving(signature, end - begin); });
    sources.for_each_signature([this](const Sources::Signature& signature, std::size_t begin,
                                      std::size_t end) { place(signature, end - begin); });
    number_slabs();
  }
  Slabs take() { return std::move(plan_); }

 private:
  [[nodiscard]] c10::ScalarType dtype_of(const Sources::Signature& signature) const {
    return dtype_.value_or(signature.element.dtype);
  }

  [[nodiscard]] bool is_own(const Sources::Signature& signature) const {
    const auto numel = static_cast<std::size_t>(signature.numel);
    return product_of(numel, c10::elementSize(dtype_of(signature))) >= own_from_;
  }

  // A cast in a shared slab is one for all of its pair of dtypes.
  void add_saving(const Sources::Signature& signature, std::size_t count) {
    if (is_own(signature)) return;
    const Pair pair{signature.element.dtype, dtype_of(signature)};
    auto saved = std::find_if(savings_.begin(), savings_.end(),
                              [&pair](const auto& entry) { return entry.first == pair; });
    if (saved == savings_.end()) saved = savings_.insert(savings_.end(), {pair, 0});
    saved->second = sum_of(saved->second, product_of(count, saving(signature, pair.second)));
  }

  [[nodiscard]] bool casts_later(const Sources::Signature& signature) const {
    if (is_own(signature)) return saving(signature, dtype_of(signature)) >= kCastOnDeviceFrom;
    const Pair pair{signature.element.dtype, dtype_of(signature)};
    return std::any_of(savings_.begin(), savings_.end(), [&pair](const auto& entry) {
      return entry.first == pair && entry.second >= kCastOnDeviceFrom;
    });
  }

  void place(const Sources::Signature& signature, std::size_t count) {
    const c10::ScalarType dtype = dtype_of(signature);
    const bool is_later = casts_later(signature);
    const c10::ScalarType packed = is_later ? signature.element.dtype : dtype;
    const std::size_t nbytes =
        product_of(static_cast<std::size_t>(signature.numel), c10::elementSize(packed));
    const Pair pair = is_later ? Pair(packed, dtype) : Pair(c10::kByte, c10::kByte);
    is_own_.push_back(is_own(signature));
    if (is_own_.back()) {
      plan_.places.push_back({own_.size(), 0, 0, packed, dtype});
      own_.insert(own_.end(), count, Slab{pair.first, pair.second, true, nbytes});
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
  std::vector<std::pair<Pair, std::size_t>> savings_;  // bytes
  std::vector<Slab> shared_, own_;
  std::vector<bool> is_own_;  // for each signature
  Slabs plan_;
};

}  // namespace

bool is_for_the_device(c10::ScalarType from, c10::ScalarType to) {
  if (!is_plain_number(from) || !is_plain_number(to)) return false;
  if (c10::elementSize(to) <= c10::elementSize(from)) return false;
  // A float that no integer has (infinity, NaN) becomes another one on every device.
  return !c10::isFloatingType(from) || c10::isFloatingType(to);
}

Slabs plan_slabs(const Sources& sources, std::optional<c10::ScalarType> dtype, Packing packing) {
  return Planner(sources, dtype, packing).take();
}

}  // namespace tensorlift
