#include "copy/float16.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <immintrin.h>

#define TENSORLIFT_F16C __attribute__((target("avx,f16c")))

namespace tensorlift {
namespace {

constexpr std::int64_t kLanes = 8;

TENSORLIFT_F16C inline __m256 load_halves(const std::uint16_t* source) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source)));
}

TENSORLIFT_F16C inline void store_halves(std::uint16_t* target, __m256 numbers) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(target),
                   _mm256_cvtps_ph(numbers, _MM_FROUND_TO_NEAREST_INT));
}

// __builtin_cpu_supports knows the name "f16c" from GCC 11 and clang 19 on.
bool processor_has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

}  // namespace

bool has_float16_instructions() {
  // "avx" also says that the operating system keeps the wide registers, which f16c needs.
  static const bool kHasThem = __builtin_cpu_supports("avx") && processor_has_f16c();
  return kHasThem;
}

TENSORLIFT_F16C void float16_to_float32(const std::uint16_t* source, float* target,
                                        std::int64_t count) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) _mm256_storeu_ps(target + i, load_halves(source + i));
  for (; i < count; ++i) target[i] = _cvtsh_ss(source[i]);
}

TENSORLIFT_F16C void float32_to_float16(const float* source, std::uint16_t* target,
                                        std::int64_t count) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store_halves(target + i, _mm256_loadu_ps(source + i));
  for (; i < count; ++i) target[i] = _cvtss_sh(source[i], _MM_FROUND_TO_NEAREST_INT);
}

}  // namespace tensorlift

#else

namespace tensorlift {

bool has_float16_instructions() { return false; }
void float16_to_float32(const std::uint16_t*, float*, std::int64_t) {}
void float32_to_float16(const float*, std::uint16_t*, std::int64_t) {}

}  // namespace tensorlift

#endif
