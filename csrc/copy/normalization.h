// Normalization: numbers of images on their way into a batch become (x * scale - mean) / std. The
// three operations are carried out as they are written, each rounded, so that the result is bit for
// bit that of the same three in torch: one multiplication with an addition would be off by many
// units in the last place where x * scale is near the mean.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/SmallVector.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "copy/normalize_bytes.h"

namespace tensorlift {

// Means and standard deviations: one that is for all channels, or one for each.
struct NormalizeOptions {
  double scale = 1;
  c10::SmallVector<double, 4> mean = {0}, std = {1};

  // That there are numbers for; 1: for any.
  [[nodiscard]] std::size_t channels() const { return mean.size() > 1 ? mean.size() : std.size(); }
};

// A part of an array's elements, in the order in which they lie in its slot.
struct ElementRun {
  const char* elements;  // contiguous and aligned; for uint8 `stride` bytes apart
  std::int64_t stride;
  std::int64_t first, count;  // which of all elements of the array
  std::int64_t channel_run;   // so many elements of a channel, then as many of the next one
};

class Normalization {
 public:
  // For a batch of this floating-point dtype, made of about so many bytes. Where both have more
  // than one, there are as many means as standard deviations.
  Normalization(const NormalizeOptions& options, c10::ScalarType dtype, std::int64_t bytes);

  // 1: all channels are alike.
  [[nodiscard]] std::int64_t channels() const { return channels_; }

  // float64 for a batch of float64, else float32: elements are cast to it, and the result is cast
  // to the batch's dtype.
  [[nodiscard]] c10::ScalarType computed_in() const;

  // The numbers of all channels, in that dtype: scales, means, standard deviations [3, channels].
  [[nodiscard]] std::vector<char> numbers() const;

  // Writes the results to `target`, which is contiguous and aligned for the batch's dtype, and does
  // not overlap the elements. `from` is no complex dtype.
  void run(const ElementRun& run, c10::ScalarType from, void* target) const;

 private:
  template <typename T>
  struct Numbers {
    T scale;
    std::vector<T> mean, std;  // of each channel; several times over, if there are several
  };

  template <typename T>
  [[nodiscard]] Numbers<T> numbers_of(const NormalizeOptions& options) const;
  template <typename T>
  void run_in(const Numbers<T>& numbers, const ElementRun& run, c10::ScalarType from,
              void* target) const;
  template <typename Function>
  void for_each_channel(const ElementRun& run, Function function) const;
  void run_bytes(const ElementRun& run, void* target) const;
  template <typename From, typename T>
  void run_channels(const Numbers<T>& numbers, const ElementRun& run, T* target) const;

  const c10::ScalarType dtype_;
  const std::int64_t channels_;
  const std::int64_t period_;  // a multiple of the channels, long enough for vector instructions
  const Numbers<float> floats_;
  const Numbers<double> doubles_;
  std::unique_ptr<const ByteNormalization> bytes_;  // null where it is of no use
};

}  // namespace tensorlift
