// Bytes: the input of a fuzzer, read as a series of choices. Past its end every choice is the first
// one, the simplest, so that short inputs are complete.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tensorlift::native {

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : next_(data), end_(data + size) {}

  std::uint8_t byte() { return next_ == end_ ? 0 : *next_++; }

  // A number from 0 to bound - 1.
  std::int64_t below(std::int64_t bound) {
    std::uint64_t number = byte();
    if (bound > 256) number = number << 8 | byte();
    return static_cast<std::int64_t>(number % static_cast<std::uint64_t>(bound));
  }

  bool flag() { return (byte() & 1) != 0; }

  // Happens once in `n` times, where a fuzzer is undecided.
  bool once_in(std::int64_t n) { return below(n) == n - 1; }

  template <typename T, std::size_t kCount>
  T one_of(const T (&choices)[kCount]) {
    return choices[below(static_cast<std::int64_t>(kCount))];
  }

  std::int64_t int64() {
    std::uint64_t number = 0;
    for (int i = 0; i < 8; ++i) number = number << 8 | byte();
    return static_cast<std::int64_t>(number);
  }

 private:
  const std::uint8_t* next_;
  const std::uint8_t* end_;
};

// Numbers that look like chance (xorshift): what memory is full of, not worth bytes of the input.
class Noise {
 public:
  explicit Noise(std::uint32_t seed) : state_(seed * 2654435761U + 1U) {}

  std::uint32_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    return state_ ^= state_ << 5;
  }

 private:
  std::uint32_t state_;  // never 0
};

}  // namespace tensorlift::native
