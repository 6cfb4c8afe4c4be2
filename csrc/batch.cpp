#include "batch.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "batch_jobs.h"
#include "batch_on_device.h"
#include "conduct.h"
#include "date_units.h"
#include "errors.h"
#include "gather.h"
#include "output.h"
#include "padding.h"
#include "promote.h"
#include "source_reader.h"
#include "stream.h"

namespace tensorlift {
namespace {

// So many jobs at a time, so that a million small arrays do not take as much memory for jobs as for
// elements.
constexpr std::size_t kJobsAtOnce = 32 << 10;

void check_options(const BatchOptions& options) {
  if (options.device && options.out) {
    throw ValueError("out: expected None with device=, got a tensor. Leave one of them out.");
  }
  if (!options.out) return;
  if (options.memory == OutputMemory::kPinned) {
    throw ValueError("pin_memory: expected False with out=, got True.");
  }
  if (options.memory_format != c10::MemoryFormat::Contiguous) {
    throw ValueError("memory_format: expected None with out=, got another. Give out its strides.");
  }
}

// Writes the whole batch, to memory that was used before or not. GIL not needed.
void gather(const Sources& sources, const Layout& layout, const Padding& padding,
            const Destination& target, bool is_warm, std::optional<int> threads) {
  if (target.numel == 0) return;
  GatherJobs jobs;
  jobs.reserve(std::min(sources.size(), kJobsAtOnce));
  if (is_warm && target.nbytes() >= kStreamFrom) jobs.stream();
  BatchJobs batch(sources, layout, padding, target.dtype, target.data, target.strides, jobs);
  batch.run_all(target.is_contiguous ? batch.rows() : 1, kJobsAtOnce, threads);
}

// Writes `from` to `to`: same shape, same dtype. GIL not needed.
void gather_tensor(const Destination& from, const Destination& to, std::optional<int> threads) {
  ArrayView view;
  view.data = from.data;
  view.shape = from.shape.data();
  view.strides = from.strides.data();
  view.ndim = static_cast<int>(from.shape.size());
  view.element = {from.dtype, ElementKind::kTwin,
                  static_cast<std::uint8_t>(c10::elementSize(from.dtype))};
  GatherJobs jobs;
  if (to.nbytes() >= kStreamFrom) jobs.stream();
  jobs.add(view, static_cast<std::int64_t>(from.numel), to.dtype, to.data, to.strides.data());
  jobs.run(threads);
}

// Numbers for the host, which are written here: never pinned.
at::Tensor make_int64(c10::IntArrayRef shape, OutputMemory memory) {
  if (memory == OutputMemory::kPinned) memory = OutputMemory::kPageable;
  return make_output(shape, c10::kLong, c10::MemoryFormat::Contiguous, memory);
}

// [arrays, ndim]: the shape of every array.
at::Tensor sizes_of(const Sources& sources, OutputMemory memory) {
  const auto ndim = static_cast<std::int64_t>(sources.forms()[0].ndim);
  at::Tensor sizes = make_int64({static_cast<std::int64_t>(sources.size()), ndim}, memory);
  auto* next = static_cast<std::int64_t*>(sizes.mutable_data_ptr());
  sources.for_each([&](const ArrayView& view, std::int64_t) {
    next = std::copy(view.shape, view.shape + view.ndim, next);
  });
  return sizes;
}

// [arrays + 1]: where each array begins along the first dimension, and the end.
at::Tensor offsets_of(const Sources& sources, OutputMemory memory) {
  at::Tensor offsets = make_int64({static_cast<std::int64_t>(sources.size()) + 1}, memory);
  auto* next = static_cast<std::int64_t*>(offsets.mutable_data_ptr());
  std::int64_t offset = 0;
  *next++ = offset;
  sources.for_each([&](const ArrayView& view, std::int64_t) { *next++ = offset += view.shape[0]; });
  return offsets;
}

at::Tensor extents_of(const Sources& sources, const BatchOptions& options) {
  const Operation operation = options.layout.operation;
  if (operation == Operation::kPad) return sizes_of(sources, options.memory);
  if (operation == Operation::kJagged) return offsets_of(sources, options.memory);
  return {};
}

void warn_if_discarding(const Sources& sources, c10::ScalarType dtype) {
  if (any_discards_imaginary(sources, dtype)) warn_discarded_imaginary();
}

// What is read and decided before anything is written.
struct Decision {
  Decision(const Sources& all, const BatchOptions& options)
      : sources(all),
        layout(plan_layout(sources, options.layout)),
        dtype(options.dtype ? *options.dtype : promoted_dtype(sources)),
        padding(options.padding, dtype) {}

  const Sources& sources;
  const Layout layout;
  const c10::ScalarType dtype;
  const Padding padding;
};

Batch on_host(const Decision& decision, const BatchOptions& options) {
  const Sources& sources = decision.sources;
  const Layout& layout = decision.layout;
  const c10::ScalarType dtype = decision.dtype;
  at::Tensor fresh;
  if (options.out) {
    check_out(*options.out, layout.shape, dtype);
  } else {
    std::optional<GilRelease> release;
    if (options.memory != OutputMemory::kPageable) release.emplace();  // it can take long
    fresh = make_output(layout.shape, dtype, options.memory_format, options.memory);
  }
  at::Tensor extents = extents_of(sources, options);
  warn_if_discarding(sources, dtype);  // runs Python code, which may raise, or change out
  std::optional<Destination> out;
  if (options.out) {
    check_out(*options.out, layout.shape, dtype);
    out = destination_of(*options.out);
  }
  const bool is_in_the_way = out && may_overlap(*out, sources);
  if (is_in_the_way) {
    fresh =
        make_output(layout.shape, dtype, c10::MemoryFormat::Contiguous, OutputMemory::kPageable);
  }
  // From here on nothing is refused any more.
  const Destination written = fresh.defined() ? destination_of(fresh) : *out;
  without_gil(written.nbytes(), [&] {
    gather(sources, layout, decision.padding, written, /*is_warm=*/!fresh.defined(),
           options.threads);
    if (is_in_the_way) gather_tensor(written, *out, options.threads);
  });
  if (out && !options.out->is_inference()) options.out->unsafeGetTensorImpl()->bump_version();
  return {out ? *options.out : fresh, std::move(extents)};
}

Batch on_device(const Decision& decision, const BatchOptions& options) {
  const TransferOptions& device = options.device->transfer;
  const at::Tensor extents = extents_of(decision.sources, options);
  warn_if_discarding(decision.sources, decision.dtype);
  const GilRelease release;
  std::vector<SentBatch> sent = send_batches({{decision.sources, decision.layout, decision.padding,
                                               decision.dtype, options.memory_format, extents}},
                                             device, options.threads);
  return {std::move(sent[0].values), std::move(sent[0].extents)};
}

Batch on_plain_device(const Decision& decision, const BatchOptions& options) {
  Batch batch = on_host(decision, options);
  batch.values = to_plain_device(batch.values, *options.device);
  if (batch.extents.defined()) batch.extents = to_plain_device(batch.extents, *options.device);
  return batch;
}

}  // namespace

ReadOptions read_options(const BatchOptions& options) {
  return {options.dtype, options.channel_dim,
          /*passes_over_empty=*/options.layout.operation == Operation::kCat,
          /*takes_tensors=*/true};
}

Batch make_batch(py::handle arrays, const BatchOptions& options) {
  check_options(options);
  SourceReader reader(arrays, read_options(options));
  reader.read_all();
  check_date_units(reader.items(), reader.sources());
  const Decision decision(reader.sources(), options);
  if (!options.device) return on_host(decision, options);
  if (options.device->is_plain) return on_plain_device(decision, options);
  return on_device(decision, options);
}

}  // namespace tensorlift
