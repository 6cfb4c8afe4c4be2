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

at::Tensor tensor_of(const std::vector<std::int64_t>& numbers) {
  const at::Tensor tensor =
      make_output({static_cast<std::int64_t>(numbers.size())}, c10::kLong, OutputMemory::kPageable);
  std::copy(numbers.begin(), numbers.end(), static_cast<std::int64_t*>(tensor.mutable_data_ptr()));
  return tensor;
}

// For each sequence in the packed order the numbers from 0 to its length, all read from the same
// memory.
class Positions {
 public:
  explicit Positions(const PackedRows& rows, c10::ArrayRef<std::int64_t> lengths)
      : numbers_(longest(lengths)) {
    std::iota(numbers_.begin(), numbers_.end(), std::int64_t{0});
    ArrayView view;
    const std::int64_t stride = sizeof(std::int64_t);
    view.data = numbers_.data();
    view.strides = &stride;
    view.ndim = 1;
    view.element = {c10::kLong, ElementKind::kTwin, sizeof(std::int64_t)};
    sources_.reserve(rows.sequences.size());
    for (const std::int64_t sequence : rows.sequences) {
      const std::int64_t length = lengths[static_cast<std::size_t>(sequence)];
      view.shape = &length;
      sources_.add(view, length);
    }
    if (!rows.sequences.empty()) return;
    static constexpr std::int64_t kNone = 0;
    view.shape = &kNone;
    sources_.add(view, 0);
  }
  [[nodiscard]] const Sources& sources() const { return sources_; }

 private:
  static std::size_t longest(c10::ArrayRef<std::int64_t> lengths) {
    return static_cast<std::size_t>(*std::max_element(lengths.begin(), lengths.end()));
  }

  std::vector<std::int64_t> numbers_;
  Sources sources_;
};

JoinOptions joining(std::optional<c10::ScalarType> dtype) {
  JoinOptions options;
  options.layout.operation = Operation::kJagged;
  options.dtype = dtype;
  options.extents_dtype.reset();
  return options;
}

at::Tensor begins_of(const PackedRows& rows, c10::ArrayRef<std::int64_t> lengths) {
  const auto count = static_cast<std::int64_t>(rows.sequences.size());
  const at::Tensor begins = make_output({count + 1}, c10::kInt, OutputMemory::kPageable);
  auto* next = static_cast<std::int32_t*>(begins.mutable_data_ptr());
  std::int64_t begin = 0;
  *next++ = 0;
  for (const std::int64_t sequence : rows.sequences) {
    begin += lengths[static_cast<std::size_t>(sequence)];
    *next++ = static_cast<std::int32_t>(begin);
  }
  return begins;
}

void check_total(const Layout& layout) {
  if (layout.shape[0] <= INT32_MAX) return;
  throw ValueError("arrays: expected at most " + std::to_string(INT32_MAX) +
                   " tokens in all, which is what cu_seqlens can count, got " +
                   std::to_string(layout.shape[0]) + ". Pack fewer at once.");
}

}  // namespace

Packed make_packed(py::handle arrays, const PackOptions& options) {
  SourceReader reader{Items(arrays), read_options(options)};
  reader.read_all();
  check_date_units(reader.items(), reader.sources());
  truncate(reader.sources(), options.truncation);
  // In the caller's order, so that errors name the caller's arrays.
  check_total(plan_layout(reader.sources(), options.layout));
  const c10::ScalarType dtype = options.dtype ? *options.dtype : promoted_dtype(reader.sources());

  const std::vector<std::int64_t> lengths = lengths_of(reader.sources());
  const PackedRows rows = pack_rows(lengths, options.max_tokens, options.strategy);
  const Sources ordered = rows.sequences.empty() ? reader.sources()  // all without elements
                                                 : reader.sources().in_order(rows.sequences);
  const BatchPlan tokens(ordered, joining(dtype));
  const Positions positions(rows, lengths);
  const BatchPlan position_ids(positions.sources(), joining(c10::kLong));

  auto made = make_new_batches({{tokens, begins_of(rows, lengths)}, {position_ids, {}}}, options);
  return {std::move(made[0].values), std::move(made[1].values), std::move(made[0].extents),
          tensor_of(rows.sequences), tensor_of(rows.offsets)};
}

}  // namespace tensorlift
