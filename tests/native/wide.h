// Wide: arithmetic that does not overflow, for an oracle of what must notice that 64 bits are not
// enough.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "bytes.h"

namespace tensorlift::native {

// Never negative, and never more than kMost, which stands for all that is larger.
class Wide {
 public:
  Wide(std::int64_t value) : value_(value) {}  // NOLINT: a number like others

  [[nodiscard]] static Wide size_of(std::int64_t value) {  // without the sign
    Wide size(0);
    size.value_ = value < 0 ? -static_cast<__int128>(value) : static_cast<__int128>(value);
    return size;
  }

  Wide& operator*=(Wide other) {
    const bool is_most = value_ != 0 && other.value_ > kMost / value_;
    value_ = is_most ? kMost : value_ * other.value_;
    return *this;
  }
  Wide& operator+=(Wide other) {
    value_ = std::min(kMost, value_ + other.value_);
    return *this;
  }
  [[nodiscard]] bool is_at_most(std::int64_t limit) const { return value_ <= limit; }
  [[nodiscard]] bool fits() const { return is_at_most(std::numeric_limits<std::int64_t>::max()); }
  [[nodiscard]] bool operator==(std::int64_t other) const { return value_ == other; }

 private:
  static constexpr __int128 kMost = static_cast<__int128>(1) << 126;

  __int128 value_;
};

// Numbers at which 64 or 32 bits end, small ones, and any others.
[[nodiscard]] inline std::int64_t make_number(Bytes& bytes) {
  using Limits = std::numeric_limits<std::int64_t>;
  switch (bytes.below(8)) {
    case 0:
      return bytes.below(6);
    case 1:
      return std::int64_t{1} << bytes.below(63);
    case 2:
      return (std::int64_t{1} << bytes.below(63)) - 1;
    case 3:
      return -(std::int64_t{1} << bytes.below(63));
    case 4:
      return bytes.one_of({Limits::max(), Limits::min(), Limits::max() - 1, Limits::min() + 1});
    case 5:
      return bytes.int64();
    case 6:
      return bytes.below(256) - 128;
    default:
      return std::int64_t{8} * bytes.below(256);
  }
}

// The same, of a dimension.
[[nodiscard]] inline std::int64_t make_size(Bytes& bytes) {
  return make_number(bytes) & std::numeric_limits<std::int64_t>::max();
}

}  // namespace tensorlift::native
