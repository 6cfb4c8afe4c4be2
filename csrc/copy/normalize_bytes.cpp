#include "copy/normalize_bytes.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "copy/float16.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define TENSORLIFT_FMA __attribute__((target("avx2,fma,f16c")))

namespace tensorlift {
namespace {

constexpr std::int64_t kAtOnce = 16;  // bytes: two vectors of float32
constexpr std::int64_t kValues = 256;

// kProduct: `scale` is the factor and `mean` the addend.
struct Numbers {
  __m256 scale, mean, std, reciprocal;
};

template <ByteFormula kFormula>
TENSORLIFT_FMA inline __m256 normalized(__m256i bytes, const Numbers& numbers) {
  const __m256 number = _mm256_cvtepi32_ps(bytes);
  if constexpr (kFormula == ByteFormula::kProduct) {
    return _mm256_fmadd_ps(number, numbers.scale, numbers.mean);
  } else {
    const __m256 centered = _mm256_sub_ps(_mm256_mul_ps(number, numbers.scale), numbers.mean);
    const __m256 quotient = _mm256_mul_ps(centered, numbers.reciprocal);
    const __m256 remainder = _mm256_fnmadd_ps(quotient, numbers.std, centered);
    return _mm256_fmadd_ps(remainder, numbers.reciprocal, quotient);
  }
}

// In the lower halves of 32 bits; what lies halfway between two numbers is rounded away from 0, and
// NaN is not cared for: such a result is not the expected one.
TENSORLIFT_FMA inline __m256i rounded_to_bfloat16(__m256 numbers) {
  const __m256i half = _mm256_set1_epi32(0x8000);
  return _mm256_srli_epi32(_mm256_add_epi32(_mm256_castps_si256(numbers), half), 16);
}

struct ToFloat {
  using Item = float;
  TENSORLIFT_FMA static void store(float* target, __m256 low, __m256 high) {
    _mm256_storeu_ps(target, low);
    _mm256_storeu_ps(target + 8, high);
  }
};

struct ToHalf {
  using Item = std::uint16_t;
  TENSORLIFT_FMA static void store(std::uint16_t* target, __m256 low, __m256 high) {
    const __m128i first = _mm256_cvtps_ph(low, _MM_FROUND_TO_NEAREST_INT);
    const __m128i second = _mm256_cvtps_ph(high, _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target), first);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + 8), second);
  }
};

struct ToBFloat16 {
  using Item = std::uint16_t;
  TENSORLIFT_FMA static void store(std::uint16_t* target, __m256 low, __m256 high) {
    const __m256i packed = _mm256_packus_epi32(rounded_to_bfloat16(low), rounded_to_bfloat16(high));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target),
                        _mm256_permute4x64_epi64(packed, 0xd8));  // packus works on halves
  }
};

TENSORLIFT_FMA inline __m128i load_16(const std::uint8_t* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

// 16 bytes that are 3 bytes apart. Reads two bytes more behind the last.
TENSORLIFT_FMA inline __m128i load_thirds(const std::uint8_t* from) {
  const __m128i first = _mm_shuffle_epi8(
      load_16(from), _mm_setr_epi8(0, 3, 6, 9, 12, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
  const __m128i second =
      _mm_shuffle_epi8(load_16(from + 16),
                       _mm_setr_epi8(-1, -1, -1, -1, -1, -1, 2, 5, 8, 11, 14, -1, -1, -1, -1, -1));
  const __m128i third =
      _mm_shuffle_epi8(load_16(from + 32),
                       _mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 1, 4, 7, 10, 13));
  return _mm_or_si128(_mm_or_si128(first, second), third);
}

// 4 bytes that are 4 bytes apart, as 32-bit numbers.
TENSORLIFT_FMA inline __m128i load_lowest(const std::uint8_t* from) {
  return _mm_and_si128(load_16(from), _mm_set1_epi32(0xff));
}

// 16 bytes that are 4 bytes apart. Reads three bytes more behind the last.
TENSORLIFT_FMA inline __m128i load_fourths(const std::uint8_t* from) {
  return _mm_packus_epi16(_mm_packus_epi32(load_lowest(from), load_lowest(from + 16)),
                          _mm_packus_epi32(load_lowest(from + 32), load_lowest(from + 48)));
}

// One by one.
TENSORLIFT_FMA inline __m128i load_some(const std::uint8_t* from, std::int64_t stride,
                                        std::int64_t count) {
  alignas(16) std::uint8_t bytes[kAtOnce] = {};
  for (std::int64_t i = 0; i < count; ++i) bytes[i] = from[i * stride];
  return _mm_load_si128(reinterpret_cast<const __m128i*>(bytes));
}

template <typename To, ByteFormula kFormula>
TENSORLIFT_FMA inline void write(__m128i bytes, const Numbers& low, const Numbers& high,
                                 typename To::Item* target) {
  To::store(target, normalized<kFormula>(_mm256_cvtepu8_epi32(bytes), low),
            normalized<kFormula>(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)), high));
}

// The last few.
template <typename To, ByteFormula kFormula>
TENSORLIFT_FMA inline void write_some(__m128i bytes, const Numbers& low, const Numbers& high,
                                      typename To::Item* target, std::int64_t count) {
  typename To::Item items[kAtOnce];
  write<To, kFormula>(bytes, low, high, items);
  std::memcpy(target, items, static_cast<std::size_t>(count) * sizeof(items[0]));
}

template <typename To, ByteFormula kFormula>
TENSORLIFT_FMA void write_channel(const Numbers& all, const std::uint8_t* from, std::int64_t stride,
                                  typename To::Item* target, std::int64_t count) {
  const Numbers numbers = all;  // in registers
  std::int64_t i = 0;
  if (stride == 1) {
    for (; i + kAtOnce <= count; i += kAtOnce) {
      write<To, kFormula>(load_16(from + i), numbers, numbers, target + i);
    }
  } else if (stride == 3) {  // what is read behind the last of 16 belongs to the next one
    for (; i + kAtOnce < count; i += kAtOnce) {
      write<To, kFormula>(load_thirds(from + 3 * i), numbers, numbers, target + i);
    }
  } else if (stride == 4) {
    for (; i + kAtOnce < count; i += kAtOnce) {
      write<To, kFormula>(load_fourths(from + 4 * i), numbers, numbers, target + i);
    }
  } else {
    for (; i + kAtOnce <= count; i += kAtOnce) {
      write<To, kFormula>(load_some(from + i * stride, stride, kAtOnce), numbers, numbers,
                          target + i);
    }
  }
  if (i == count) return;
  const __m128i last = load_some(from + i * stride, stride, count - i);
  write_some<To, kFormula>(last, numbers, numbers, target + i, count - i);
}

// Of each of 8 elements; `from` [4]: scale, mean, std, reciprocal.
TENSORLIFT_FMA inline Numbers numbers_at(const float* const* from, std::size_t at) {
  return {_mm256_loadu_ps(from[0] + at), _mm256_loadu_ps(from[1] + at),
          _mm256_loadu_ps(from[2] + at), _mm256_loadu_ps(from[3] + at)};
}

template <typename To, ByteFormula kFormula>
TENSORLIFT_FMA void write_pixels(const float* const* numbers, std::size_t period,
                                 const std::uint8_t* from, void* to, std::int64_t count) {
  auto* target = static_cast<typename To::Item*>(to);
  std::size_t at = 0;
  for (std::int64_t i = 0; i < count; i += kAtOnce) {
    const Numbers low = numbers_at(numbers, at);
    const Numbers high = numbers_at(numbers, at + kAtOnce / 2);
    if (i + kAtOnce <= count) {
      write<To, kFormula>(load_16(from + i), low, high, target + i);
    } else {
      const __m128i last = load_some(from + i, 1, count - i);
      write_some<To, kFormula>(last, low, high, target + i, count - i);
    }
    at = at + kAtOnce == period ? 0 : at + kAtOnce;
  }
}

template <typename To, ByteFormula kFormula>
TENSORLIFT_FMA void write_one_channel(const float* const* numbers, const std::uint8_t* from,
                                      std::int64_t stride, void* target, std::int64_t count) {
  const Numbers all = {_mm256_set1_ps(*numbers[0]), _mm256_set1_ps(*numbers[1]),
                       _mm256_set1_ps(*numbers[2]), _mm256_set1_ps(*numbers[3])};
  write_channel<To, kFormula>(all, from, stride, static_cast<typename To::Item*>(target), count);
}

// Calls function.operator()<To, formula>().
template <typename Function>
void with_kind(c10::ScalarType dtype, ByteFormula formula, Function function) {
  const auto with_formula = [&]<typename To>() {
    if (formula == ByteFormula::kProduct) {
      function.template operator()<To, ByteFormula::kProduct>();
    } else {
      function.template operator()<To, ByteFormula::kCorrected>();
    }
  };
  if (dtype == c10::kFloat) {
    with_formula.template operator()<ToFloat>();
  } else if (dtype == c10::kHalf) {
    with_formula.template operator()<ToHalf>();
  } else {
    with_formula.template operator()<ToBFloat16>();
  }
}

// So many representable numbers farther.
float moved(float number, int steps) {
  const float end = steps > 0 ? INFINITY : -INFINITY;
  for (int i = 0; i < std::abs(steps); ++i) number = std::nextafter(number, end);
  return number;
}

}  // namespace

bool ByteNormalization::is_possible(c10::ScalarType dtype) {
  static const bool kHasFma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!kHasFma || !has_float16_instructions()) return false;
  return dtype == c10::kFloat || dtype == c10::kHalf || dtype == c10::kBFloat16;
}

std::unique_ptr<const ByteNormalization> ByteNormalization::with_results(const void* expected,
                                                                         c10::ScalarType dtype,
                                                                         float scale,
                                                                         c10::ArrayRef<float> mean,
                                                                         c10::ArrayRef<float> std) {
  if (!is_possible(dtype)) return nullptr;
  const auto results_of = [&](std::size_t channel) {
    return static_cast<const char*>(expected) + channel * kValues * c10::elementSize(dtype);
  };
  const auto find = [&](ByteFormula formula, auto find_channel) {
    std::unique_ptr<ByteNormalization> found(new ByteNormalization(formula, dtype, mean.size()));
    for (std::size_t c = 0; c < mean.size(); ++c) {
      if (!find_channel(*found, c)) return std::unique_ptr<ByteNormalization>();
    }
    return found;
  };
  std::unique_ptr<ByteNormalization> found;
  if (dtype != c10::kFloat) {
    found = find(ByteFormula::kProduct, [&](ByteNormalization& bytes, std::size_t c) {
      return bytes.find_product(c, results_of(c), scale, mean[c], std[c]);
    });
  }
  if (found) return found;
  return find(ByteFormula::kCorrected, [&](ByteNormalization& bytes, std::size_t c) {
    bytes.set(c, scale, mean[c], std[c]);
    return bytes.gives(c, results_of(c));
  });
}

ByteNormalization::ByteNormalization(ByteFormula formula, c10::ScalarType dtype,
                                     std::size_t channels)
    : formula_(formula),
      dtype_(dtype),
      channels_(channels),
      period_(channels * kAtOnce),
      scale_(period_ + channels),
      mean_(scale_),
      std_(scale_),
      reciprocal_(scale_) {}

void ByteNormalization::set(std::size_t channel, float scale, float mean, float std) {
  for (std::size_t i = channel; i < scale_.size(); i += channels_) {
    scale_[i] = scale;
    mean_[i] = mean;
    std_[i] = std;
    reciprocal_[i] = 1 / std;
  }
}

// Factor and addend that are the nearest, or near to them: of 100 random means and standard
// deviations of three channels the first ones do for 96 (bfloat16) or 71 (float16), these for 100
// or 94.
bool ByteNormalization::find_product(std::size_t channel, const char* expected, float scale,
                                     float mean, float std) {
  const auto factor = static_cast<float>(static_cast<double>(scale) / static_cast<double>(std));
  const auto addend = static_cast<float>(-static_cast<double>(mean) / static_cast<double>(std));
  for (const int f : {0, 1, -1}) {
    for (const int a : {0, 1, -1, 2, -2, 3, -3}) {
      set(channel, moved(factor, f), moved(addend, a), 1);
      if (gives(channel, expected)) return true;
    }
  }
  return false;
}

bool ByteNormalization::gives(std::size_t channel, const char* expected) const {
  std::uint8_t values[kValues];
  std::iota(values, values + kValues, std::uint8_t{0});
  alignas(64) char results[kValues * sizeof(float)];
  this->channel(static_cast<std::int64_t>(channel), values, 1, results, kValues);
  return std::memcmp(results, expected, kValues * c10::elementSize(dtype_)) == 0;
}

void ByteNormalization::channel(std::int64_t channel, const std::uint8_t* from, std::int64_t stride,
                                void* target, std::int64_t count) const {
  const float* const numbers[] = {scale_.data() + channel, mean_.data() + channel,
                                  std_.data() + channel, reciprocal_.data() + channel};
  with_kind(dtype_, formula_, [&]<typename To, ByteFormula kFormula>() {
    write_one_channel<To, kFormula>(numbers, from, stride, target, count);
  });
}

void ByteNormalization::pixels(std::int64_t first, const std::uint8_t* from, void* target,
                               std::int64_t count) const {
  const float* const numbers[] = {scale_.data() + first, mean_.data() + first, std_.data() + first,
                                  reciprocal_.data() + first};
  with_kind(dtype_, formula_, [&]<typename To, ByteFormula kFormula>() {
    write_pixels<To, kFormula>(numbers, period_, from, target, count);
  });
}

}  // namespace tensorlift

#else

namespace tensorlift {

bool ByteNormalization::is_possible(c10::ScalarType) { return false; }
std::unique_ptr<const ByteNormalization> ByteNormalization::with_results(const void*,
                                                                         c10::ScalarType, float,
                                                                         c10::ArrayRef<float>,
                                                                         c10::ArrayRef<float>) {
  return nullptr;
}
void ByteNormalization::channel(std::int64_t, const std::uint8_t*, std::int64_t, void*,
                                std::int64_t) const {}
void ByteNormalization::pixels(std::int64_t, const std::uint8_t*, void*, std::int64_t) const {}

}  // namespace tensorlift

#endif
