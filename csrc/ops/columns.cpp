#include "ops/columns.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "binding/batch_options.h"
#include "binding/gil.h"
#include "binding/normalize_options.h"
#include "binding/options.h"
#include "binding/torch_objects.h"
#include "binding/warnings.h"
#include "copy/batch_jobs.h"
#include "copy/straight_copy.h"
#include "device/batch_on_device.h"
#include "errors.h"
#include "input/date_units.h"
#include "input/source_reader.h"
#include "memory/build.h"
#include "memory/output.h"
#include "ops/batch.h"
#include "ops/column_out.h"
#include "plan/batch_plan.h"

namespace tensorlift {
namespace {

// Numbers that lie side by side, as a source.
Sources sources_of(std::vector<char>& elements, c10::ScalarType dtype) {
  const auto itemsize = static_cast<std::int64_t>(c10::elementSize(dtype));
  const std::int64_t count = static_cast<std::int64_t>(elements.size()) / itemsize;
  ArrayView view;
  view.data = elements.data();
  view.shape = &count;
  view.strides = &itemsize;
  view.ndim = 1;
  view.element = {dtype, ElementKind::kNumber, static_cast<std::uint8_t>(itemsize)};
  view.source_kind = SourceKind::kArray;
  Sources sources;
  sources.add(view, count);
  return sources;
}

JoinOptions as_it_is(std::optional<c10::ScalarType> cast_to) {
  JoinOptions options;
  options.layout.operation = Operation::kCat;
  options.dtype = cast_to;
  return options;
}

ReadOptions column_read_options(const BatchOptions& options) {
  ReadOptions result = read_options(options);
  result.leaves_foreign_to_torch = options.layout.operation == Operation::kStack;
  return result;
}

const Sources& read(SourceReader& reader, const Truncation& truncation) {
  reader.read_all();
  check_date_units(reader.items(), reader.sources());
  truncate(reader.sources(), truncation);
  return reader.sources();
}

// What is not written to the caller's tensors.
void allocate(const Columns& columns, ColumnsMemory where) {
  ColumnMemory memory(3 * columns.size(), where);
  for (const auto& column : columns) {
    const BatchPlan& plan = column->plan;
    if (!column->values.defined()) memory.plan(plan.nbytes);
    if (plan.sizes_shape() && !column->sizes.defined()) memory.plan(plan.sizes_nbytes());
    if (plan.mask && !column->mask.defined()) memory.plan(plan.mask->plan.nbytes);
  }
  memory.allocate();
  for (const auto& column : columns) {
    const BatchPlan& plan = column->plan;
    if (!column->values.defined()) {
      column->values = memory.make(plan.nbytes, plan.dtype, plan.layout.shape);
      if (!plan.is_contiguous()) {
        column->values.unsafeGetTensorImpl()->set_sizes_and_strides(plan.layout.shape,
                                                                    plan.strides());
      }
    }
    const auto shape = plan.sizes_shape();
    if (shape && !column->sizes.defined()) {
      column->sizes = memory.make(plan.sizes_nbytes(), *plan.sizes_dtype, *shape);
    }
    if (plan.mask && !column->mask.defined()) {
      const BatchPlan& ones = plan.mask->plan;
      column->mask = memory.make(ones.nbytes, ones.dtype, ones.layout.shape);
    }
  }
}

void write_sizes_or_offsets(const Columns& columns) {
  for (const auto& column : columns) {
    if (!column->sizes.defined()) continue;
    column->plan.write_sizes_or_offsets(column->sizes.mutable_data_ptr());
  }
}

// One column whose copy is that simple; false: it is not.
bool fill_straight(const Column& column) {
  const BatchPlan& plan = column.plan;
  if (plan.mask) return false;
  if (!column.values.is_contiguous() || !is_straight(plan)) return false;
  auto* data = static_cast<char*>(column.values.mutable_data_ptr());
  without_gil(plan.nbytes, [&] { copy_straight(plan.sources, data); });
  return true;
}

void fill(const Columns& columns, std::optional<int> threads) {
  write_sizes_or_offsets(columns);
  if (columns.size() == 1 && fill_straight(*columns[0])) return;
  GatherJobs jobs;
  std::size_t count = 0;
  for (const auto& column : columns) count += column->plan.sources.size();
  jobs.reserve(count);
  const auto add = [&jobs](const BatchPlan& plan, const at::Tensor& values) {
    if (plan.nbytes == 0) return;
    const Destination target = destination_of(values);
    BatchJobs batch(plan.sources, plan.layout, plan.padding, plan.normalization.get(), target.dtype,
                    target.data, target.strides, jobs);
    batch.add_all([] { return false; });
  };
  for (const auto& column : columns) {
    add(column->plan, column->values);
    if (column->plan.mask) add(column->plan.mask->plan, column->mask);
  }
  without_gil(jobs.nbytes(), [&] { jobs.run(threads); });
}

void send_all(const Columns& columns, const TransferOptions& device, std::optional<int> threads) {
  TensorArena arena(columns.size());
  for (const auto& column : columns) {
    const BatchPlan& plan = column->plan;
    if (const auto shape = plan.sizes_shape()) {
      column->sizes = build_empty(arena, plan.sizes_nbytes(), *plan.sizes_dtype, *shape);
    }
  }
  write_sizes_or_offsets(columns);
  std::vector<BatchToSend> batches;
  for (const auto& column : columns) {
    const ColumnOut& out = column->out;
    batches.push_back({column->plan, column->sizes, out.values, out.sizes});
    if (column->plan.mask) batches.push_back({column->plan.mask->plan, {}, out.mask, {}});
  }
  if (batches.empty()) return;
  const GilRelease release;
  std::vector<SentBatch> sent = send_batches(batches, device, threads);
  auto next = sent.begin();
  for (const auto& column : columns) {
    column->values = std::move(next->values);
    column->sizes = std::move(next->sizes);
    ++next;
    if (column->plan.mask) column->mask = std::move((next++)->values);
  }
}

}  // namespace

Column::Column(c10::ArrayRef<PyObject*> values, const ColumnOptions& options)
    : reader(Items(values), column_read_options(options.batch)),
      plan(read(reader, options.batch.truncation), options.batch),
      mask_key(options.mask_key),
      memory_format(options.batch.memory_format) {
  discards = any_discards_imaginary(plan.sources, plan.dtype);
}

Column::Column(std::vector<char> elements, c10::ScalarType dtype,
               std::optional<c10::ScalarType> cast_to)
    : reader(Items(c10::ArrayRef<PyObject*>()), ReadOptions()),
      numbers(std::move(elements)),
      own_sources(sources_of(numbers, dtype)),
      plan(own_sources, as_it_is(cast_to)),
      discards(false) {}

py::object Column::result() const {
  if (!sizes.defined()) return wrap_tensor(values);
  if (plan.layout.operation != Operation::kPad) {
    return py::make_tuple(wrap_tensor(values), wrap_tensor(sizes));
  }
  return py::make_tuple(wrap_tensor(values), wrap_tensor(sizes),
                        mask.defined() && !mask_key ? wrap_tensor(mask) : py::none());
}

ColumnOptions parse_column_options(py::handle given) {
  ColumnOptions options;
  if (given.is_none()) return options;
  BatchOptions& batch = options.batch;
  const auto arguments = py::reinterpret_borrow<py::tuple>(given);
  batch.layout.operation = parse_operation(arguments[0]);
  parse_batch_options(/*dtype=*/arguments[1], /*channel_dim=*/arguments[2],
                      /*memory_format=*/arguments[3], /*out=*/py::none(), /*pin_memory=*/Py_False,
                      /*threads=*/py::none(), batch);
  if (!py::handle(arguments[5]).is_none()) {
    const auto normalize = py::reinterpret_borrow<py::tuple>(arguments[5]);
    parse_normalize({normalize[0], normalize[1], normalize[2], normalize[3]}, batch);
  }
  if (py::handle(arguments[4]).is_none()) return options;
  if (batch.layout.operation == Operation::kJagged) {
    batch.sizes_dtype = parse_offsets_dtype(arguments[4]);
    return options;
  }
  const auto padding = py::reinterpret_borrow<py::tuple>(arguments[4]);
  parse_padding(
      {padding[0], padding[1], padding[2], padding[3], padding[4], padding[5], padding[6]}, batch);
  if (!py::handle(padding[7]).is_none()) options.mask_key = padding[7];
  if (!parse_bool("sizes", padding[8])) batch.sizes_dtype.reset();
  return options;
}

void warn_if_discarding(const Columns& columns) {
  bool discards = false;
  for (const auto& column : columns) discards |= std::exchange(column->discards, false);
  if (discards) warn_discarded_imaginary();
}

void join(const Columns& columns, const ColumnsTarget& target) {
  warn_if_discarding(columns);
  if (target.device) {
    check_out_apart(columns);
    send_all(columns, *target.device, target.threads);
    return finish_out(columns, target.threads);
  }
  use_out(columns);
  allocate(columns, target.memory);
  fill(columns, target.threads);
  finish_out(columns, target.threads);
}

}  // namespace tensorlift
