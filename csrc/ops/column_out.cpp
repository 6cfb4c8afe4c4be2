#include "ops/column_out.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "binding/gil.h"
#include "errors.h"
#include "memory/host_memory.h"
#include "memory/output.h"
#include "ops/batch.h"

namespace tensorlift {
namespace {

// A tensor of the caller's, and what stands in its place in the column.
struct Target {
  AddressRange range;
  const at::Tensor* out;
  at::Tensor* written;
  bool is_direct;
};

// Containers of the caller's ran code after the tensor was checked.
void check_unchanged(const at::Tensor& out, c10::IntArrayRef shape, c10::ScalarType dtype) {
  if (has_plain_memory(out) && out.sizes() == shape && out.scalar_type() == dtype) return;
  throw ValueError(
      "out: expected tensors that stay as they are during the call, got one that was "
      "changed.");
}

// In the order of their addresses. Those without elements are nowhere.
std::vector<Target> targets_of(const Columns& columns) {
  std::vector<Target> targets;
  const auto add = [&targets](const at::Tensor& out, at::Tensor& written, bool is_direct,
                              c10::IntArrayRef shape, c10::ScalarType dtype) {
    if (!out.defined()) return;
    check_unchanged(out, shape, dtype);
    const AddressRange range = out.numel() == 0 ? AddressRange{0, 0} : address_range(out);
    targets.push_back({range, &out, &written, is_direct});
  };
  for (const auto& column : columns) {
    const ColumnOut& out = column->out;
    const BatchPlan& plan = column->plan;
    add(out.values, column->values, true, plan.layout.shape, plan.dtype);
    if (const auto shape = plan.sizes_shape()) {
      const bool is_direct = out.sizes.defined() && out.sizes.is_contiguous();
      add(out.sizes, column->sizes, is_direct, *shape, *plan.sizes_dtype);
    }
    if (plan.mask) {
      add(out.mask, column->mask, true, plan.mask->plan.layout.shape, plan.mask->plan.dtype);
    }
  }
  std::sort(targets.begin(), targets.end(),
            [](const Target& a, const Target& b) { return a.range.begin < b.range.begin; });
  return targets;
}

void check_apart(const std::vector<Target>& targets) {
  for (std::size_t i = 1; i < targets.size(); ++i) {
    if (targets[i].range.begin >= targets[i - 1].range.end) continue;
    if (targets[i].out->numel() == 0) continue;
    throw ValueError(
        "out: expected tensors whose memory neither overlaps nor interleaves, got two that share "
        "some. Give each place a tensor of its own.");
  }
}

// Marks those that a source may lie in. They are apart, so at most a few are touched by each.
void mark_read(std::vector<Target>& targets, const Sources& sources) {
  sources.for_each([&targets](const ArrayView& view, std::int64_t numel) {
    if (numel == 0) return;
    const AddressRange source = address_range(view);
    auto target = std::partition_point(targets.begin(), targets.end(), [&](const Target& t) {
      return t.range.end <= source.begin;
    });
    for (; target != targets.end() && target->range.begin < source.end; ++target) {
      target->is_direct = false;
    }
  });
}

}  // namespace

void check_out_apart(const Columns& columns) { check_apart(targets_of(columns)); }

void use_out(const Columns& columns) {
  std::vector<Target> targets = targets_of(columns);
  if (targets.empty()) return;
  check_apart(targets);
  for (const auto& column : columns) mark_read(targets, column->plan.sources);
  for (const Target& target : targets) {
    if (target.is_direct) *target.written = *target.out;
  }
}

void finish_out(const Columns& columns, std::optional<int> threads) {
  const auto finish = [threads](at::Tensor& written, const at::Tensor& out) {
    if (!out.defined()) return;
    if (!written.is_same(out)) {
      const Destination from = destination_of(written), to = destination_of(out);
      without_gil(to.nbytes(), [&] { copy_tensor(from, to, threads); });
    }
    written = out;
    if (!out.is_inference()) out.unsafeGetTensorImpl()->bump_version();
  };
  for (const auto& column : columns) {
    finish(column->values, column->out.values);
    finish(column->sizes, column->out.sizes);
    finish(column->mask, column->out.mask);
  }
}

}  // namespace tensorlift
