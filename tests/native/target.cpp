#include "target.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "check.h"

namespace tensorlift::native {

Memory::Memory(Noise& noise, std::size_t nbytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, kSlotAlignment, nbytes) != 0) throw std::bad_alloc();
  data_.reset(static_cast<char*>(memory));
  std::memset(memory, static_cast<int>(noise.next() % 256), nbytes);
}

void Memory::Free::operator()(char* data) const { std::free(data); }

Target::Target(Noise& noise, std::size_t nbytes)
    : memory_(noise, nbytes), image_(memory_.data(), memory_.data() + nbytes) {}

void Target::expect(std::int64_t offset, c10::ScalarType from, c10::ScalarType to,
                    const char* element) {
  Written& written = elements_.emplace_back();
  written.offset = static_cast<std::size_t>(offset);
  written.from = from;
  written.to = to;
  std::memcpy(written.element, element, c10::elementSize(from));
}

void Target::expect_zeros(std::size_t begin, std::size_t end) {
  std::fill(image_.begin() + static_cast<std::ptrdiff_t>(begin),
            image_.begin() + static_cast<std::ptrdiff_t>(end), char{0});
}

void Target::check() {
  for (const Written& written : elements_) {
    const char* actual = data() + written.offset;
    char expected[kMaxElementBytes];
    if (written.from == written.to) {
      std::memcpy(expected, written.element, c10::elementSize(written.to));
    } else {
      convert_element(written.from, written.to, written.element, expected);
    }
    native::check(is_converted(written.from, written.to, written.element, expected, actual),
                  "an element is where it belongs, as Tensor.to() makes it");
    std::memcpy(image_.data() + written.offset, actual, c10::elementSize(written.to));
  }
  native::check(std::equal(image_.begin(), image_.end(), data()),
                "no byte beside the slots has changed");
}

int make_threads(Bytes& bytes) {
  const std::uint8_t choice = bytes.byte();
  return choice < 254 ? 1 : choice - 252;
}

void write_packed(Bytes& bytes, Noise& noise, const PackedBytes& packed, const Target& target) {
  const auto limit = kSlotAlignment * static_cast<std::size_t>(1 + bytes.below(16));
  const int threads = make_threads(bytes);
  for (std::size_t begin = 0; begin < packed.nbytes;) {
    const std::size_t end = packed.chunk_end(begin, limit, limit);
    check(begin < end && end <= packed.nbytes, "windows of the packed follow on each other");
    check(end - begin <= limit, "a window fits into a buffer");
    const Memory window(noise, end - begin);
    packed.write(begin, end, window.data(), threads, kSlotAlignment);
    std::memcpy(target.data() + begin, window.data(), end - begin);
    begin = end;
  }
}

}  // namespace tensorlift::native
