#include "copy/non_temporal.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tensorlift {

#if defined(__x86_64__)

void non_temporal_copy(char* target, const char* source, std::size_t nbytes) {
  constexpr std::size_t kLine = 64;
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(target) % kLine;
  const std::size_t head = std::min(before, nbytes);
  std::memcpy(target, source, head);
  std::size_t i = head;
  for (; i + kLine <= nbytes; i += kLine) {
    const auto* from = reinterpret_cast<const __m128i*>(source + i);
    auto* to = reinterpret_cast<__m128i*>(target + i);
    const __m128i a = _mm_loadu_si128(from);
    const __m128i b = _mm_loadu_si128(from + 1);
    const __m128i c = _mm_loadu_si128(from + 2);
    const __m128i d = _mm_loadu_si128(from + 3);
    _mm_stream_si128(to, a);
    _mm_stream_si128(to + 1, b);
    _mm_stream_si128(to + 2, c);
    _mm_stream_si128(to + 3, d);
  }
  _mm_sfence();  // so that whoever is told of the end sees all of it
  std::memcpy(target + i, source + i, nbytes - i);
}

#else

void non_temporal_copy(char* target, const char* source, std::size_t nbytes) {
  std::memcpy(target, source, nbytes);
}

#endif

}  // namespace tensorlift
