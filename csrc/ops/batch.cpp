#include "ops/batch.h"

#include <c10/core/StreamGuard.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "binding/gil.h"
#include "binding/warnings.h"
#include "copy/batch_jobs.h"
#include "copy/cast.h"
#include "copy/gather.h"
#include "copy/non_temporal.h"
#include "copy/straight_copy.h"
#include "dispatch_guard.h"
#include "errors.h"
#include "input/date_units.h"
#include "input/source_reader.h"
#include "memory/build.h"
#include "memory/output.h"
#include "plan/normalized.h"
#include "plan/promote.h"
#include "text.h"

namespace tensorlift {
namespace {

// So many jobs at a time, so that a million small arrays do not take as much memory for jobs as for
// elements.
constexpr std::size_t kJobsAtOnce = 32 << 10;

void check_options(const BatchOptions& options) {
  if (!options.out) return;
  if (options.memory == OutputMemory::kPinned) {
    throw ValueError("pin_memory: expected False with out=, got True.");
  }
  if (options.memory_format.value_or(c10::MemoryFormat::Contiguous) !=
      c10::MemoryFormat::Contiguous) {
    throw ValueError("memory_format: expected None with out=, got another. Give out its strides.");
  }
}

// Writes the whole batch, to memory that was used before or not. GIL not needed.
void gather(const BatchPlan& plan, const Destination& target, bool is_warm,
            std::optional<int> threads) {
  if (target.numel == 0) return;
  if (target.is_contiguous && is_straight(plan)) {
    return copy_straight(plan.sources, target.data);
  }
  GatherJobs jobs;
  jobs.reserve(std::min(plan.sources.size(), kJobsAtOnce));
  if (is_warm && target.nbytes() >= kNonTemporalFrom) jobs.use_non_temporal_stores();
  BatchJobs batch(plan.sources, plan.layout, plan.padding, plan.normalization.get(), target.dtype,
                  target.data, target.strides, jobs);
  batch.run_all(target.is_contiguous ? batch.rows() : 1, kJobsAtOnce, threads);
}

at::Tensor make_fresh(const BatchPlan& plan, OutputMemory memory) {
  std::optional<GilRelease> release;
  if (memory != OutputMemory::kPageable) release.emplace();  // it can take long
  at::Tensor fresh = make_output(plan.layout.shape, plan.dtype, memory);
  if (!plan.is_contiguous()) {
    fresh.unsafeGetTensorImpl()->set_sizes_and_strides(plan.layout.shape, plan.strides());
  }
  return fresh;
}

// A new tensor of the host, written.
at::Tensor written(const BatchPlan& plan, const BatchOptions& options) {
  at::Tensor fresh = make_fresh(plan, options.memory);
  const Destination target = destination_of(fresh);
  without_gil(target.nbytes(), [&] { gather(plan, target, /*is_warm=*/false, options.threads); });
  return fresh;
}

void warn_if_discarding(const BatchPlan& plan) {
  if (any_discards_imaginary(plan.sources, plan.dtype)) warn_discarded_imaginary();
}

// An empty tensor, as torch's functions with out= do it.
void resize(const at::Tensor& out, const BatchPlan& plan) {
  const DispatchGuard guard;
  out.resize_(plan.layout.shape);  // throws where the storage cannot be resized
  const bool keeps_format = plan.layout.operation == Operation::kCat;  // torch.stack does not
  if (plan.is_contiguous() || !keeps_format) return;
  out.unsafeGetTensorImpl()->set_sizes_and_strides(plan.layout.shape, plan.strides());
}

void mark_written(const at::Tensor& out) {
  if (!out.is_inference()) out.unsafeGetTensorImpl()->bump_version();
}

at::Tensor copied_to(const at::Tensor& out, const at::Tensor& batch) {
  const GilRelease release;
  const DispatchGuard plain;
  out.copy_(batch);
  return out;
}

std::vector<Batch> sent(const std::vector<BatchToSend>& batches, const BatchOptions& options) {
  const GilRelease release;
  std::vector<Batch> made;
  made.reserve(batches.size());
  for (SentBatch& batch : send_batches(batches, options.device->transfer, options.threads)) {
    made.push_back({std::move(batch.values), std::move(batch.sizes), {}});
  }
  return made;
}

Batch on_host(const BatchPlan& plan, const BatchOptions& options) {
  const Shape& shape = plan.layout.shape;
  at::Tensor fresh;
  if (options.out) {
    check_out(*options.out, c10::kCPU, shape, plan.dtype);
  } else {
    fresh = make_fresh(plan, options.memory);
  }
  at::Tensor sizes = sizes_of_arrays(plan);
  at::Tensor mask = plan.mask ? written(plan.mask->plan, options) : at::Tensor();
  warn_if_discarding(plan);  // runs Python code, which may raise, or change out
  std::optional<Destination> out;
  if (options.out) {
    check_out(*options.out, c10::kCPU, shape, plan.dtype);
    if (options.out->sizes() != shape) resize(*options.out, plan);
    out = destination_of(*options.out);
  }
  const bool is_in_the_way = out && may_overlap(*out, plan.sources);
  if (is_in_the_way) {
    fresh = make_output(shape, plan.dtype, OutputMemory::kPageable);
  }
  // From here on nothing is refused any more.
  const Destination target = fresh.defined() ? destination_of(fresh) : *out;
  without_gil(target.nbytes(), [&] {
    gather(plan, target, /*is_warm=*/!fresh.defined(), options.threads);
    if (is_in_the_way) copy_tensor(target, *out, options.threads);
  });
  if (out) mark_written(*options.out);
  return {out ? *options.out : fresh, std::move(sizes), std::move(mask)};
}

// The caller's tensor on a device, which fits, as it is now. Runs Python code, which may raise.
at::Tensor out_on_device(const BatchPlan& plan, const BatchOptions& options) {
  const at::Tensor& out = *options.out;
  const TransferOptions& device = options.device->transfer;
  check_out(out, device.device, plan.layout.shape, plan.dtype);
  warn_if_discarding(plan);
  check_out(out, device.device, plan.layout.shape, plan.dtype);
  if (out.sizes() != plan.layout.shape) {
    std::optional<c10::StreamGuard> on_stream;  // whose memory it gets
    if (device.stream) on_stream.emplace(*device.stream);
    resize(out, plan);
  }
  TensorArena arena(1);
  return build_alias(arena, out);
}

Batch on_device(const BatchPlan& plan, const BatchOptions& options) {
  std::vector<BatchToSend> batches{{plan, sizes_of_arrays(plan)}};
  if (plan.mask) batches.push_back({plan.mask->plan, {}});
  if (options.out) {
    batches[0].out = out_on_device(plan, options);
  } else {
    warn_if_discarding(plan);
  }
  std::vector<Batch> made = sent(batches, options);
  if (options.out) {
    made[0].values = *options.out;
    mark_written(*options.out);
  }
  if (plan.mask) made[0].mask = std::move(made[1].values);
  return std::move(made[0]);
}

Batch on_plain_device(const BatchPlan& plan, const BatchOptions& options) {
  BatchOptions to_host = options;
  to_host.out.reset();
  Batch batch = on_host(plan, to_host);
  if (options.out) {
    check_out(*options.out, options.device->transfer.device, plan.layout.shape, plan.dtype);
    if (options.out->sizes() != plan.layout.shape) resize(*options.out, plan);
    batch.values = copied_to(*options.out, batch.values);
  } else {
    batch.values = to_plain_device(batch.values, *options.device);
  }
  if (batch.sizes.defined()) batch.sizes = to_plain_device(batch.sizes, *options.device);
  if (batch.mask.defined()) batch.mask = to_plain_device(batch.mask, *options.device);
  return batch;
}

// As torch has it: what is joined is cast to the dtype of `out` where that is possible.
JoinOptions with_dtype_of_out(const Sources& sources, const BatchOptions& options) {
  JoinOptions result = options;
  if (!options.out || options.dtype) return result;
  const c10::ScalarType from =
      options.normalize ? normalized_dtype(sources, std::nullopt) : promoted_dtype(sources);
  const c10::ScalarType to = options.out->scalar_type();
  if (options.normalize && !c10::isFloatingType(to)) {
    throw TypeError(
        "out: expected a dtype of floating-point numbers with scale, mean and std, got " +
        dtype_text(to) + ".");
  }
  if (!c10::canCast(from, to)) {
    throw TypeError("out: expected a dtype that " + dtype_text(from) + " can be cast to, got " +
                    dtype_text(to) + ". Pass dtype=" + dtype_text(to) + " to cast to it.");
  }
  if (is_castable(to)) result.dtype = to;
  return result;
}

Batch on_device_of_out(const BatchPlan& plan, const BatchOptions& options) {
  const at::Tensor& out = *options.out;
  const c10::Device there_or_host = out.is_meta() ? c10::Device(c10::kCPU) : out.device();
  check_out(out, there_or_host, plan.layout.shape, plan.dtype);
  BatchOptions there = options;
  const auto& [non_blocking, stream] = *options.out_on_device;
  there.device = parse_device_of(out, non_blocking, stream);
  return there.device->is_plain ? on_plain_device(plan, there) : on_device(plan, there);
}

Batch joined(const Items& items, const BatchOptions& options) {
  SourceReader reader{Items(items.all()), read_options(options)};
  reader.read_all();
  check_date_units(reader.items(), reader.sources());
  truncate(reader.sources(), options.truncation);
  const BatchPlan plan(reader.sources(), with_dtype_of_out(reader.sources(), options));
  if (options.out_on_device) return on_device_of_out(plan, options);
  if (!options.device) return on_host(plan, options);
  if (options.device->is_plain) return on_plain_device(plan, options);
  return on_device(plan, options);
}

}  // namespace

at::Tensor sizes_of_arrays(const BatchPlan& plan) {
  const std::optional<Shape> shape = plan.sizes_shape();
  if (!shape) return {};
  at::Tensor sizes = make_output(*shape, *plan.sizes_dtype, OutputMemory::kPageable);
  plan.write_sizes_or_offsets(sizes.mutable_data_ptr());
  return sizes;
}

void copy_tensor(const Destination& from, const Destination& to, std::optional<int> threads) {
  ArrayView view;
  view.data = from.data;
  view.shape = from.shape.data();
  view.strides = from.strides.data();
  view.ndim = static_cast<int>(from.shape.size());
  view.element = {from.dtype, ElementKind::kNumber,
                  static_cast<std::uint8_t>(c10::elementSize(from.dtype))};
  GatherJobs jobs;
  if (to.nbytes() >= kNonTemporalFrom) jobs.use_non_temporal_stores();
  jobs.add(view, static_cast<std::int64_t>(from.numel), to.dtype, to.data, to.strides.data());
  jobs.run(threads);
}

ReadOptions read_options(const BatchOptions& options) {
  return {options.dtype,
          options.channel_dim,
          options.reverses_channels,
          /*passes_over_empty=*/options.layout.operation != Operation::kStack,
          /*takes_tensors=*/true,
          /*takes_lists=*/options.layout.operation == Operation::kPad ||
              options.layout.operation == Operation::kJagged,
          /*leaves_to_torch=*/options.layout.operation == Operation::kStack ||
              options.layout.operation == Operation::kCat};
}

Batch make_batch(const Items& items, const BatchOptions& options) {
  check_options(options);
  try {
    return joined(items, options);
  } catch (const ForTorch&) {
    throw;
  } catch (const TypeError& refusal) {
    throw BatchTypeError(refusal.what());
  } catch (const ValueError& refusal) {
    throw BatchValueError(refusal.what());
  }
}

std::vector<Batch> make_new_batches(const std::vector<BatchToSend>& batches,
                                    const BatchOptions& options) {
  for (const BatchToSend& batch : batches) warn_if_discarding(batch.plan);
  if (options.device && !options.device->is_plain) return sent(batches, options);
  std::vector<Batch> made;
  made.reserve(batches.size());
  for (const BatchToSend& batch : batches) {
    made.push_back({written(batch.plan, options), batch.sizes, {}});
    if (!options.device) continue;
    made.back().values = to_plain_device(made.back().values, *options.device);
    if (batch.sizes.defined()) {
      made.back().sizes = to_plain_device(batch.sizes, *options.device);
    }
  }
  return made;
}

}  // namespace tensorlift
