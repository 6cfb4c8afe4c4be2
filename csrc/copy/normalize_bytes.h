// Bytes, normalised by the processor's vector instructions: without the division, which takes five
// times as long as a multiplication, and in one step from the byte to the batch's dtype.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace tensorlift {

// How results are computed. A byte has but 256 of them in a channel, so that all were compared with
// those of the three operations before a way is used.
enum class ByteFormula : std::uint8_t {
  kProduct,    // x * factor + addend, rounded once: for float16 and bfloat16, mostly
  kCorrected,  // x * scale - mean, times the reciprocal, corrected by what remains
};

// For float32, float16 and bfloat16, of one channel or of several.
class ByteNormalization {
 public:
  // One whose results are `expected` [channels, 256], of this dtype; null: there is none, or the
  // processor has not what it takes (AVX2, FMA and F16C, which all have had since 2013). As many
  // means as standard deviations.
  [[nodiscard]] static std::unique_ptr<const ByteNormalization> with_results(
      const void* expected, c10::ScalarType dtype, float scale, c10::ArrayRef<float> mean,
      c10::ArrayRef<float> std);

  // Has it a chance?
  [[nodiscard]] static bool is_possible(c10::ScalarType dtype);

  // `count` elements of a channel, `stride` bytes apart, to `target`, which is contiguous.
  void channel(std::int64_t channel, const std::uint8_t* from, std::int64_t stride, void* target,
               std::int64_t count) const;

  // `count` elements of all channels in turn, of which the first is of channel `first`; contiguous.
  void pixels(std::int64_t first, const std::uint8_t* from, void* target, std::int64_t count) const;

 private:
  ByteNormalization(ByteFormula formula, c10::ScalarType dtype, std::size_t channels);

  void set(std::size_t channel, float scale, float mean, float std);
  [[nodiscard]] bool find_product(std::size_t channel, const char* expected, float scale,
                                  float mean, float std);
  [[nodiscard]] bool gives(std::size_t channel, const char* expected) const;

  const ByteFormula formula_;
  const c10::ScalarType dtype_;
  const std::size_t channels_;
  const std::size_t period_;  // of the numbers below: a multiple of the channels, and of vectors
  // Of the channels in turn, from each channel on. kProduct: factor, addend.
  std::vector<float> scale_, mean_, std_, reciprocal_;
};

}  // namespace tensorlift
