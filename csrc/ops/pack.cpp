#include "ops/pack.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "binding/gil.h"
#include "device/batch_on_device.h"
#include "errors.h"
#include "input/date_units.h"
#include "input/source_reader.h"
#include "memory/output.h"
#include "plan/promote.h"

namespace tensorlift {
namespace {

std::vector<std::int64_t> lengths_of(const Sources& sources) {
  std::vector<std::int64_t> lengths;
  lengths.reserve(sources.size());
  sources.for_each(
      [&lengths](const ArrayView& view, std::int64_t) { lengths.push_back(view.shape[0]); });
  return lengths;
}

std::vector<std::int64_t> in_order(c10::ArrayRef<std::int64_t> lengths,
                                   c10::ArrayRef<std::int64_t> indices) {
  std::vector<std::int64_t> ordered;
  ordered.reserve(indices.size());
  for (const std::int64_t index : indices) {
    ordered.push_back(lengths[static_cast<std::size_t>(index)]);
  }
  return ordered;
}

at::Tensor tensor_of(const std::vector<std::int64_t>& numbers) {
  const at::Tensor tensor =
      make_output({static_cast<std::int64_t>(numbers.size())}, c10::kLong, OutputMemory::kPageable);
  std::copy(numbers.begin(), numbers.end(), static_cast<std::int64_t*>(tensor.mutable_data_ptr()));
  return tensor;
}

// For each sequence the numbers from 0 to its length, all read from the same memory.
class Positions {
 public:
  explicit Positions(c10::ArrayRef<std::int64_t> lengths) : numbers_(longest(lengths)) {
    std::iota(numbers_.begin(), numbers_.end(), std::int64_t{0});
    sources_.reserve(lengths.size());
    for (const std::int64_t length : lengths) add(length);
    if (lengths.empty()) add(0);
  }
  [[nodiscard]] const Sources& sources() const { return sources_; }

 private:
  static std::size_t longest(c10::ArrayRef<std::int64_t> lengths) {
    const auto* most = std::max_element(lengths.begin(), lengths.end());
    return most == lengths.end() ? 0 : static_cast<std::size_t>(*most);
  }
  void add(std::int64_t length) {
    static constexpr std::int64_t kStride = sizeof(std::int64_t);
    ArrayView view;
    view.data = numbers_.data();
    view.shape = &length;
    view.strides = &kStride;
    view.ndim = 1;
    view.element = {c10::kLong, ElementKind::kNumber, sizeof(std::int64_t)};
    sources_.add(view, length);
  }

  std::vector<std::int64_t> numbers_;
  Sources sources_;
};

JoinOptions joining(std::optional<c10::ScalarType> dtype) {
  JoinOptions options;
  options.layout.operation = Operation::kJagged;
  options.dtype = dtype;
  options.sizes_dtype.reset();
  return options;
}

at::Tensor begins_of(c10::ArrayRef<std::int64_t> lengths) {
  const auto count = static_cast<std::int64_t>(lengths.size());
  const at::Tensor begins = make_output({count + 1}, c10::kInt, OutputMemory::kPageable);
  auto* next = static_cast<std::int32_t*>(begins.mutable_data_ptr());
  std::int64_t begin = 0;
  *next++ = 0;
  for (const std::int64_t length : lengths) *next++ = static_cast<std::int32_t>(begin += length);
  return begins;
}

template <typename T>
std::vector<std::int64_t> lengths_between(const at::Tensor& offsets) {
  const auto* next = static_cast<const T*>(offsets.const_data_ptr());
  const std::int64_t stride = offsets.stride(0);
  std::vector<std::int64_t> lengths;
  lengths.reserve(static_cast<std::size_t>(offsets.size(0)));
  for (std::int64_t i = 1; i < offsets.size(0); ++i, next += stride) {
    std::int64_t length = 0;
    if (__builtin_sub_overflow(next[stride], next[0], &length) || length < 0) {
      throw ValueError("offsets: expected numbers that do not decrease, got " +
                       std::to_string(next[0]) + " before " + std::to_string(next[stride]) + ".");
    }
    lengths.push_back(length);
  }
  return lengths;
}

void check_pack_total(const Layout& layout) {
  if (layout.shape[0] <= INT32_MAX) return;
  throw ValueError("arrays: expected at most " + std::to_string(INT32_MAX) +
                   " tokens in all, which is what cu_seqlens can count, got " +
                   std::to_string(layout.shape[0]) + ". Pack fewer at once.");
}

}  // namespace

void with_packed(const Sources& sources, const PackOptions& options, const UsePacked& use) {
  // In the caller's order, so that errors name the caller's arrays.
  check_pack_total(plan_layout(sources, options.layout));
  const c10::ScalarType dtype = options.dtype ? *options.dtype : promoted_dtype(sources);

  std::vector<std::int64_t> lengths = lengths_of(sources);
  const PackedRows rows = pack_rows(lengths, options.max_tokens, options.strategy);
  const Sources ordered = rows.sequences.empty() ? sources  // all without elements
                                                 : sources.in_order(rows.sequences);
  const BatchPlan tokens(ordered, joining(dtype));
  lengths = in_order(lengths, rows.sequences);
  const Positions positions(lengths);
  const BatchPlan position_ids(positions.sources(), joining(c10::kLong));
  use({{tokens, begins_of(lengths)}, {position_ids, {}}}, rows);
}

Packed make_packed(py::handle arrays, const PackOptions& options) {
  SourceReader reader{Items(arrays), read_options(options)};
  reader.read_all();
  check_date_units(reader.items(), reader.sources());
  truncate(reader.sources(), options.truncation);
  Packed packed;
  with_packed(reader.sources(), options,
              [&](const std::vector<BatchToSend>& batches, const PackedRows& rows) {
                auto made = make_new_batches(batches, options);
                packed = {std::move(made[0].values), std::move(made[1].values),
                          std::move(made[0].sizes), tensor_of(rows.sequences),
                          tensor_of(rows.offsets)};
              });
  return packed;
}

at::Tensor position_ids(const at::Tensor& offsets) {
  const std::vector<std::int64_t> lengths = offsets.scalar_type() == c10::kInt
                                                ? lengths_between<std::int32_t>(offsets)
                                                : lengths_between<std::int64_t>(offsets);
  const Positions positions(lengths);
  const BatchPlan plan(positions.sources(), joining(c10::kLong));
  return std::move(make_new_batches({{plan, {}}}, {})[0].values);
}

}  // namespace tensorlift
