// Target: memory that is to be written, and what must be in it afterwards.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "../../csrc/plan/packed_bytes.h"
#include "bytes.h"
#include "elements.h"

namespace tensorlift::native {

// Exactly so many bytes, aligned to 64, full of noise.
class Memory {
 public:
  Memory(Noise& noise, std::size_t nbytes);

  [[nodiscard]] char* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(char* data) const;
  };
  std::unique_ptr<char, Free> data_;
};

class Target {
 public:
  Target(Noise& noise, std::size_t nbytes);

  [[nodiscard]] char* data() const { return memory_.data(); }

  // At `offset` there will be what becomes of an element, given in native byte order.
  void expect(std::int64_t offset, c10::ScalarType from, c10::ScalarType to, const char* element);

  void expect_zeros(std::size_t begin, std::size_t end);

  // Is every element there, and every other byte as it was?
  void check();

 private:
  struct Written {
    std::size_t offset;
    c10::ScalarType from, to;
    char element[kMaxElementBytes];
  };

  Memory memory_;
  std::vector<char> image_;  // all bytes as they must be; of elements after check() alone
  std::vector<Written> elements_;
};

// Mostly one thread, which is the fastest where there is little to do.
[[nodiscard]] int make_threads(Bytes& bytes);

// Calls window(begin, end) for windows that follow on each other and make up [0, total).
template <typename Window>
void for_each_window(Bytes& bytes, std::size_t total, Window window) {
  for (std::size_t begin = 0; begin < total;) {
    const auto rest = static_cast<std::int64_t>(total - begin);
    const std::size_t end = total - static_cast<std::size_t>(bytes.below(rest));
    window(begin, end);
    begin = end;
  }
}

// Writes all of the packed to the target, a window at a time, each to memory of its size.
void write_packed(Bytes& bytes, Noise& noise, const PackedBytes& packed, const Target& target);

}  // namespace tensorlift::native
