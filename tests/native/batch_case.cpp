#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "../../csrc/copy/batch_jobs.h"
#include "../../csrc/copy/gather.h"
#include "../../csrc/copy/normalization.h"
#include "../../csrc/copy/padding.h"
#include "../../csrc/plan/layout.h"
#include "../../csrc/plan/packed_bytes.h"
#include "../../csrc/plan/sources.h"
#include "arrays.h"
#include "bytes.h"
#include "cases.h"
#include "elements.h"
#include "positions.h"
#include "target.h"

namespace tensorlift::native {
namespace {

constexpr Operation kOperations[] = {Operation::kStack, Operation::kCat, Operation::kPad,
                                     Operation::kJagged};
constexpr Operation kOfImages[] = {Operation::kStack, Operation::kPad};
constexpr c10::ScalarType kNormalizedTypes[] = {c10::kFloat, c10::kHalf, c10::kBFloat16,
                                                c10::kDouble};
constexpr c10::ScalarType kImageTypes[] = {c10::kByte, c10::kByte,     c10::kFloat,
                                           c10::kHalf, c10::kBFloat16, c10::kDouble,
                                           c10::kLong, c10::kShort,    c10::kBool};
constexpr std::int64_t kMaxNumel = 100;        // of an array
constexpr std::int64_t kMaxBatchNumel = 2000;  // padding included

class BatchCase {
 public:
  BatchCase(Bytes& bytes, bool is_normalized)
      : bytes_(bytes),
        noise_(bytes.byte()),
        is_normalized_(is_normalized),
        operation_(is_normalized ? bytes.one_of(kOfImages) : bytes.one_of(kOperations)),
        dtype_(is_normalized ? bytes.one_of(kNormalizedTypes) : bytes.one_of(kTypes)) {}

  void run() {
    make_arrays();
    if (is_normalized_) make_normalization();
    const Layout layout = plan_layout(sources_, options_);
    const auto itemsize = static_cast<std::int64_t>(c10::elementSize(dtype_));
    if (numel_of(layout.shape) > kMaxBatchNumel) return;
    const Shape strides = make_slot_strides(bytes_, layout.shape, itemsize);
    const bool is_contiguous = tensorlift::is_contiguous(
        static_cast<int>(strides.size()), layout.shape.data(), strides.data(), itemsize);
    Target target(noise_, static_cast<std::size_t>(extent_of(layout.shape, strides, itemsize)));
    expect(layout, strides, target);
    if (numel_of(layout.shape) > 0) {
      if (is_contiguous && bytes_.flag()) {
        send(layout, strides, target);
      } else {
        write(layout, strides, is_contiguous, target);
      }
    }
    target.check();
  }

 private:
  void make_arrays() {
    Shape model = make_shape(bytes_, kMaxNumel);
    const bool joins = operation_ == Operation::kCat || operation_ == Operation::kJagged;
    if (joins && model.empty()) model.push_back(1);
    const auto ndim = static_cast<std::int64_t>(model.size());
    options_.operation = operation_;
    options_.dim = operation_ == Operation::kStack ? bytes_.below(ndim + 1)
                   : operation_ == Operation::kCat ? bytes_.below(ndim)
                                                   : 0;
    options_.pad_to_multiple_of = {{ndim < 4 ? 1 + bytes_.below(4) : 1}};
    options_.pad_left = {{}, false};
    for (std::int64_t d = 0; d < ndim; ++d) options_.pad_left.values.push_back(bytes_.flag());
    const c10::ScalarType type = make_type();
    const std::int64_t count = 1 + bytes_.below(5);
    for (std::int64_t i = 0; i < count; ++i) {
      if (i > 0 && bytes_.flag()) {
        arrays_.push_back(make_like(bytes_, noise_, arrays_.back()));
      } else {
        const bool is_other = bytes_.once_in(4);
        arrays_.push_back(make_array(bytes_, noise_, is_other ? make_type() : type, like(model)));
      }
    }
    for (const Array& array : arrays_) sources_.add(array.view(), array.numel);
    // Where all are of shape (0,) there is one dimension.
    options_.pad_left.values.resize(static_cast<std::size_t>(padding_model(sources_).ndim));
  }

  c10::ScalarType make_type() {
    return is_normalized_ ? bytes_.one_of(kImageTypes) : bytes_.one_of(kTypes);
  }

  void make_normalization() {
    numbers_.scale = 1.0 / 255;
    const auto channels_of = [](const Array& array) {
      return array.shape.empty() ? std::int64_t{1} : array.shape[0];
    };
    bool has_channels = bytes_.flag();
    for (const Array& array : arrays_) {
      has_channels &= array.numel > 0 && channels_of(array) == channels_of(arrays_[0]);
    }
    const std::int64_t channels = has_channels ? channels_of(arrays_[0]) : 1;
    numbers_.mean.clear();
    numbers_.std.clear();
    for (std::int64_t c = 0; c < channels; ++c) {
      numbers_.mean.push_back(0.125 * static_cast<double>(c) + 0.3);
      numbers_.std.push_back(0.1 * static_cast<double>(c) + 0.7);
    }
    normalization_.emplace(numbers_, dtype_, /*bytes=*/INT64_MAX);
  }

  // What becomes of an element of a channel, in the dtype to compute in.
  template <typename T>
  void expect_normalized(std::int64_t offset, c10::ScalarType from, const char* element,
                         std::size_t channel, Target& target) const {
    constexpr c10::ScalarType kComputed = c10::CppTypeToScalarType<T>::value;
    T number = 0;
    convert_element(from, kComputed, element, reinterpret_cast<char*>(&number));
    number = number * static_cast<T>(numbers_.scale);
    number = number - static_cast<T>(numbers_.mean[channel]);
    number = number / static_cast<T>(numbers_.std[channel]);
    target.expect(offset, kComputed, dtype_, reinterpret_cast<const char*>(&number));
  }

  void expect_element(std::int64_t offset, const Array& array, const Shape& position,
                      const char* element, Target& target) const {
    const c10::ScalarType from = array.element.dtype;
    if (!is_normalized_) return target.expect(offset, from, dtype_, element);
    const std::size_t channel =
        numbers_.mean.size() == 1 ? 0 : static_cast<std::size_t>(position[0]);
    if (dtype_ == c10::kDouble) {
      return expect_normalized<double>(offset, from, element, channel, target);
    }
    expect_normalized<float>(offset, from, element, channel, target);
  }

  // A shape that fits into a batch with others like `model`.
  Shape like(const Shape& model) {
    // One of shape (0,) fits to all but a stack.
    if (operation_ != Operation::kStack && !model.empty() && bytes_.once_in(8)) return {0};
    Shape shape = model;
    const auto dim = static_cast<std::size_t>(options_.dim);
    if (operation_ == Operation::kPad) {
      for (std::int64_t& size : shape) size -= bytes_.below(size + 1) % 5;
    } else if (operation_ != Operation::kStack) {
      shape[dim] = bytes_.below(shape[dim] + 2);
    }
    return shape;
  }

  void expect(const Layout& layout, const Shape& strides, Target& target) const {
    std::vector<bool> is_written(static_cast<std::size_t>(numel_of(layout.shape)));
    std::int64_t joined = 0;  // along the dimension that arrays share
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      const Array& array = arrays_[i];
      for (std::int64_t index = 0; index < array.numel; ++index) {
        char element[kMaxElementBytes];
        array.read(index, element);
        const Shape position = position_of(index, array.shape);
        const Shape place = place_of(layout, i, joined, position, array);
        expect_element(offset_of(place, strides), array, position, element, target);
        is_written[static_cast<std::size_t>(index_of(place, layout.shape))] = true;
      }
      const bool joins = operation_ == Operation::kCat || operation_ == Operation::kJagged;
      if (joins && array.numel > 0) joined += array.shape[static_cast<std::size_t>(layout.dim)];
    }
    for (std::size_t i = 0; i < is_written.size(); ++i) {
      if (is_written[i]) continue;
      const Shape place = position_of(static_cast<std::int64_t>(i), layout.shape);
      target.expect(offset_of(place, strides), c10::kDouble, dtype_,
                    reinterpret_cast<const char*>(&kPadding));
    }
  }

  // Where in the batch an element of the array goes.
  Shape place_of(const Layout& layout, std::size_t array_index, std::int64_t joined, Shape position,
                 const Array& array) const {
    const auto dim = static_cast<std::size_t>(layout.dim);
    const auto number = static_cast<std::int64_t>(array_index);
    switch (operation_) {
      case Operation::kStack:
        position.insert(position.begin() + layout.dim, number);
        return position;
      case Operation::kCat:
      case Operation::kJagged:
        position[dim] += joined;
        return position;
      case Operation::kPad:
        for (std::size_t d = 0; d < position.size(); ++d) {
          if (!options_.pad_left[d]) continue;
          position[d] += layout.shape[d + 1] - array.shape[d];
        }
        position.insert(position.begin(), number);
        return position;
    }
    return position;
  }

  // As batch.cpp does it.
  void write(const Layout& layout, const Shape& strides, bool is_contiguous, const Target& target) {
    const Padding padding(kPadding, dtype_);
    const int threads = make_threads(bytes_);
    const auto jobs_at_once = static_cast<std::size_t>(1 + bytes_.below(6));
    GatherJobs jobs;
    BatchJobs batch(sources_, layout, padding, normalization(), dtype_, target.data(), strides,
                    jobs);
    batch.run_all(is_contiguous ? batch.rows() : 1, jobs_at_once, threads);
  }

  // As batch_on_device.cpp does it.
  void send(const Layout& layout, const Shape& strides, const Target& target) {
    const Padding padding(kPadding, dtype_);
    PackedBytes packed;
    packed.nbytes = static_cast<std::size_t>(numel_of(layout.shape)) * c10::elementSize(dtype_);
    BatchJobs batch(sources_, layout, padding, normalization(), dtype_, PackedBytes::at(0), strides,
                    packed.jobs);
    batch.add_all([&] {
      if (layout.has_padding) packed.cut_points.push_back(packed.jobs.nbytes());
      return false;
    });
    packed.rows = batch.rows();
    write_packed(bytes_, noise_, packed, target);
  }

  [[nodiscard]] const Normalization* normalization() const {
    return normalization_ ? &*normalization_ : nullptr;
  }

  static constexpr double kPadding = 2.5;

  Bytes& bytes_;
  Noise noise_;
  const bool is_normalized_;
  const Operation operation_;
  const c10::ScalarType dtype_;
  NormalizeOptions numbers_;
  std::optional<Normalization> normalization_;
  LayoutOptions options_;
  std::vector<Array> arrays_;
  Sources sources_;
};

}  // namespace

void run_batch_case(Bytes& bytes) { BatchCase(bytes, /*is_normalized=*/false).run(); }

void run_normalized_case(Bytes& bytes) { BatchCase(bytes, /*is_normalized=*/true).run(); }

}  // namespace tensorlift::native
