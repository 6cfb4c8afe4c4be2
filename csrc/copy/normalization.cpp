#include "copy/normalization.h"

#include <c10/util/ArrayRef.h>

#include <algorithm>
#include <numeric>

#include "copy/cast.h"
#include "copy/simd.h"
#include "copy/test_grain.h"

namespace tensorlift {
namespace {

// Numbers on their way from one step to the next stay in the first-level cache.
constexpr std::int64_t kNumbersAtOnce = kIsTestGrain ? 16 : 1024;

// Where the channel changes with each element, so many elements at least are one loop.
constexpr std::int64_t kShortestPeriod = kIsTestGrain ? 4 : 64;

template <typename From, typename T>
inline T normalized(From value, T scale, T mean, T std) {
  return (static_cast<T>(value) * scale - mean) / std;
}

// From so many bytes for each channel on it pays to try all 256 values of each first.
constexpr std::int64_t kFewBytes = kIsTestGrain ? 0 : 4096;

// With a constant stride the compiler uses vector instructions.
template <typename From, typename T>
inline void normalize_items(const From* __restrict from, std::int64_t stride, T* __restrict to,
                            std::int64_t count, T scale, T mean, T std) {
  for (std::int64_t i = 0; i < count; ++i) {
    to[i] = normalized(from[i * stride], scale, mean, std);
  }
}

// Elements of one channel. Tables of the 256 results were half as fast for uint8 to float32.
template <typename From, typename T>
TENSORLIFT_SIMD void normalize_channel(const From* from, std::int64_t stride, T* to,
                                       std::int64_t count, T scale, T mean, T std) {
  if (stride == 1) return normalize_items(from, 1, to, count, scale, mean, std);
  if (stride == 3) return normalize_items(from, 3, to, count, scale, mean, std);
  if (stride == 4) return normalize_items(from, 4, to, count, scale, mean, std);
  normalize_items(from, stride, to, count, scale, mean, std);
}

// Elements of all channels in turn: `period` numbers of mean and std, then the same again.
template <typename From, typename T>
TENSORLIFT_SIMD void normalize_pixels(const From* __restrict from, T* __restrict to,
                                      std::int64_t count, std::int64_t period, T scale,
                                      const T* __restrict mean, const T* __restrict std) {
  while (count > 0) {
    const std::int64_t run = std::min(period, count);
    for (std::int64_t i = 0; i < run; ++i) to[i] = normalized(from[i], scale, mean[i], std[i]);
    from += run;
    to += run;
    count -= run;
  }
}

std::int64_t multiple_of(std::int64_t channels) {
  return channels * std::max<std::int64_t>((kShortestPeriod + channels - 1) / channels, 1);
}

}  // namespace

Normalization::Normalization(const NormalizeOptions& options, c10::ScalarType dtype,
                             std::int64_t bytes)
    : dtype_(dtype),
      channels_(static_cast<std::int64_t>(options.channels())),
      period_(multiple_of(channels_)),
      floats_(numbers_of<float>(options)),
      doubles_(numbers_of<double>(options)) {
  if (bytes / channels_ < kFewBytes || !ByteNormalization::is_possible(dtype)) return;
  constexpr std::int64_t kValues = 256;
  std::uint8_t values[kValues];
  std::iota(values, values + kValues, std::uint8_t{0});
  const auto count = static_cast<std::size_t>(channels_);
  const std::size_t nbytes = kValues * c10::elementSize(dtype_);
  std::vector<char> results(count * nbytes);
  for (std::int64_t channel = 0; channel < channels_; ++channel) {
    run_in(floats_,
           {.elements = reinterpret_cast<const char*>(values),
            .stride = 1,
            .first = channel * kValues,
            .count = kValues,
            .channel_run = kValues},
           c10::kByte, results.data() + static_cast<std::size_t>(channel) * nbytes);
  }
  bytes_ =
      ByteNormalization::with_results(results.data(), dtype, floats_.scale,
                                      {floats_.mean.data(), count}, {floats_.std.data(), count});
}

c10::ScalarType Normalization::computed_in() const {
  return dtype_ == c10::kDouble ? c10::kDouble : c10::kFloat;
}

template <typename T>
Normalization::Numbers<T> Normalization::numbers_of(const NormalizeOptions& options) const {
  const auto repeated = [this](c10::ArrayRef<double> numbers) {
    // So that there are `period_` of them from any channel on.
    std::vector<T> result(static_cast<std::size_t>(channels_ == 1 ? 1 : period_ + channels_));
    for (std::size_t i = 0; i < result.size(); ++i) {
      result[i] = static_cast<T>(numbers[i % numbers.size()]);
    }
    return result;
  };
  return {static_cast<T>(options.scale), repeated(options.mean), repeated(options.std)};
}

std::vector<char> Normalization::numbers() const {
  const auto bytes_of = [this](const auto& numbers) {
    const auto count = static_cast<std::size_t>(channels_);
    auto all = std::vector(count, numbers.scale);
    all.insert(all.end(), numbers.mean.begin(), numbers.mean.begin() + channels_);
    all.insert(all.end(), numbers.std.begin(), numbers.std.begin() + channels_);
    const auto* bytes = reinterpret_cast<const char*>(all.data());
    return std::vector<char>(bytes, bytes + all.size() * sizeof(all[0]));
  };
  return dtype_ == c10::kDouble ? bytes_of(doubles_) : bytes_of(floats_);
}

void Normalization::run(const ElementRun& run, c10::ScalarType from, void* target) const {
  if (from == c10::kByte && bytes_) return run_bytes(run, target);
  if (dtype_ == c10::kDouble) return run_in(doubles_, run, from, target);
  run_in(floats_, run, from, target);
}

template <typename T>
void Normalization::run_in(const Numbers<T>& numbers, const ElementRun& all, c10::ScalarType from,
                           void* target) const {
  constexpr c10::ScalarType kComputed = c10::CppTypeToScalarType<T>::value;
  const bool is_read_directly = from == c10::kByte || from == kComputed;
  const bool is_written_directly = dtype_ == kComputed;
  const std::int64_t at_once = is_read_directly && is_written_directly ? all.count : kNumbersAtOnce;
  const CastFunction to_computed = is_read_directly ? nullptr : cast_function(from, kComputed);
  const CastFunction to_result = is_written_directly ? nullptr : cast_function(kComputed, dtype_);
  alignas(64) T read[kNumbersAtOnce];
  alignas(64) T written[kNumbersAtOnce];

  auto* to = static_cast<char*>(target);
  ElementRun run = all;
  for (std::int64_t done = 0; done < all.count; done += at_once) {
    run.count = std::min(at_once, all.count - done);
    run.first = all.first + done;
    run.elements = all.elements + done * all.stride;
    T* results = is_written_directly ? reinterpret_cast<T*>(to) : written;
    if (from == c10::kByte) {
      run_channels<std::uint8_t>(numbers, run, results);
    } else {
      run.stride = sizeof(T);
      if (!is_read_directly) {
        to_computed(run.elements, read, run.count);
        run.elements = reinterpret_cast<const char*>(read);
      }
      run_channels<T>(numbers, run, results);
    }
    if (!is_written_directly) to_result(written, to, run.count);
    to += run.count * static_cast<std::int64_t>(c10::elementSize(dtype_));
  }
}

// Calls function(channel, begin, count) for each part of the run that is of one channel.
template <typename Function>
void Normalization::for_each_channel(const ElementRun& run, Function function) const {
  std::int64_t done = 0;
  while (done < run.count) {
    const std::int64_t position = run.first + done;
    const std::int64_t left = run.channel_run - position % run.channel_run;
    const std::int64_t count = std::min(left, run.count - done);
    function(position / run.channel_run % channels_, done, count);
    done += count;
  }
}

void Normalization::run_bytes(const ElementRun& run, void* target) const {
  const auto* from = reinterpret_cast<const std::uint8_t*>(run.elements);
  if (channels_ == 1) return bytes_->channel(0, from, run.stride, target, run.count);
  if (run.channel_run == 1 && run.stride == 1) {
    return bytes_->pixels(run.first % channels_, from, target, run.count);
  }
  auto* to = static_cast<char*>(target);
  for_each_channel(run, [&](std::int64_t channel, std::int64_t begin, std::int64_t count) {
    bytes_->channel(channel, from + begin * run.stride, run.stride,
                    to + begin * static_cast<std::int64_t>(c10::elementSize(dtype_)), count);
  });
}

template <typename From, typename T>
void Normalization::run_channels(const Numbers<T>& numbers, const ElementRun& run,
                                 T* target) const {
  const auto* from = reinterpret_cast<const From*>(run.elements);
  const std::int64_t stride = run.stride / static_cast<std::int64_t>(sizeof(From));
  if (channels_ == 1) {
    return normalize_channel(from, stride, target, run.count, numbers.scale, numbers.mean[0],
                             numbers.std[0]);
  }
  if (run.channel_run == 1 && stride == 1) {
    const std::int64_t channel = run.first % channels_;
    return normalize_pixels(from, target, run.count, period_, numbers.scale,
                            numbers.mean.data() + channel, numbers.std.data() + channel);
  }
  for_each_channel(run, [&](std::int64_t channel, std::int64_t begin, std::int64_t count) {
    const auto c = static_cast<std::size_t>(channel);
    normalize_channel(from + begin * stride, stride, target + begin, count, numbers.scale,
                      numbers.mean[c], numbers.std[c]);
  });
}

}  // namespace tensorlift
