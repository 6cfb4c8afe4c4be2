#include "batch.h"

#include <ATen/ops/full.h>

#include <algorithm>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "batch_reader.h"
#include "conduct.h"
#include "errors.h"
#include "gather.h"
#include "output.h"
#include "promote.h"
#include "stream.h"
#include "text.h"

namespace tensorlift {
namespace {

// So many jobs at a time, so that a million small arrays do not take as much memory for jobs as for
// elements.
constexpr std::size_t kJobsAtOnce = 32 << 10;

bool any_discards_imaginary(const Sources& sources, c10::ScalarType dtype) {
  return std::any_of(sources.forms().begin(), sources.forms().end(), [dtype](const auto& form) {
    return discards_imaginary(form.element.twin, dtype);
  });
}

void check_options(const BatchOptions& options) {
  if (!options.out) return;
  if (options.pin_memory) throw ValueError("pin_memory: expected False with out=, got True.");
  if (options.memory_format != c10::MemoryFormat::Contiguous) {
    throw ValueError("memory_format: expected none with out=, whose strides are as they are.");
  }
}

// One number, of which padding has as many as it needs: every stride is 0.
class Padding {
 public:
  Padding(const Layout& layout, const c10::Scalar& value, c10::ScalarType dtype) {
    const bool is_zero = value.isIntegral(/*includeBool=*/true) && !value.toBool();
    if (is_zero && !layout.has_padding) return;  // else the value is checked in any case
    try {
      number_ = at::full({}, value, at::TensorOptions().dtype(dtype));
    } catch (const std::exception&) {
      throw ValueError("value: expected a number within the range of " + dtype_text(dtype) +
                       ", got another.");
    }
    strides_.resize(layout.shape.size());
  }

  void add(int ndim, const std::int64_t* box, char* slot, const std::int64_t* slot_strides,
           GatherJobs& jobs) const {
    const c10::ScalarType dtype = number_.scalar_type();
    const auto itemsize = static_cast<std::uint8_t>(number_.itemsize());
    std::int64_t numel = 1;
    for (int d = 0; d < ndim; ++d) numel *= box[d];
    const void* number = number_.const_data_ptr();
    if (is_contiguous(ndim, box, slot_strides, itemsize)) {
      return jobs.add_repeated(number, dtype, numel, slot);
    }
    ArrayView view;
    view.data = const_cast<void*>(number);  // only read
    view.shape = box;
    view.strides = strides_.data();
    view.ndim = ndim;
    view.element = {dtype, ElementKind::kTwin, itemsize};
    jobs.add(view, numel, dtype, slot, slot_strides);
  }

 private:
  at::Tensor number_;
  Shape strides_;
};

// Writes the whole batch, to memory that was used before or not. GIL not needed.
void gather(const Sources& sources, const Layout& layout, const Padding& padding,
            const at::Tensor& target, bool is_warm, std::optional<int> threads) {
  const Shape strides = byte_strides(target);
  Slots slots(layout, static_cast<char*>(target.mutable_data_ptr()), strides);
  const std::int64_t rows = target.is_contiguous() ? slots.rows() : 1;
  GatherJobs jobs;
  jobs.reserve(std::min(sources.size(), kJobsAtOnce));
  if (is_warm && target.nbytes() >= kStreamFrom) jobs.stream();
  const auto run = [&] {
    if (rows > 1) {
      jobs.run_side_by_side(rows, threads);
    } else {
      jobs.run(threads);
    }
    jobs.clear();
  };
  sources.for_each_form([&](const Sources::Form& form, std::size_t begin, std::size_t end) {
    ArrayView view = sources.view(form, begin);
    bool is_first = true;  // of its form among the jobs
    for (std::size_t i = begin; i < end; ++i) {
      view.data = sources.data(i);
      char* slot = slots.next(view);
      if (is_first || layout.has_padding || form.numel == 0) {
        jobs.add(view, form.numel, target.scalar_type(), slot, slots.strides());
        is_first = false;
      } else {
        jobs.repeat(view.data, slot);
      }
      if (layout.has_padding) {
        slots.for_each_padding(view, [&](const std::int64_t* box, char* data) {
          padding.add(view.ndim, box, data, slots.strides(), jobs);
        });
      }
      if (jobs.size() < kJobsAtOnce) continue;
      run();
      is_first = true;
    }
  });
  run();
}

// Writes `from` to `to`: same shape, same dtype.
void gather_tensor(const at::Tensor& from, const at::Tensor& to, std::optional<int> threads) {
  const Shape from_strides = byte_strides(from);
  const Shape to_strides = byte_strides(to);
  ArrayView view;
  view.data = from.mutable_data_ptr();
  view.shape = from.sizes().data();
  view.strides = from_strides.data();
  view.ndim = static_cast<int>(from.dim());
  view.element = {from.scalar_type(), ElementKind::kTwin,
                  static_cast<std::uint8_t>(from.itemsize())};
  GatherJobs jobs;
  if (to.nbytes() >= kStreamFrom) jobs.stream();
  jobs.add(view, from.numel(), to.scalar_type(), to.mutable_data_ptr(), to_strides.data());
  jobs.run(threads);
}

at::Tensor make_int64(c10::IntArrayRef shape) {
  return make_output(shape, c10::kLong, c10::MemoryFormat::Contiguous, /*pinned=*/false);
}

// [arrays, ndim]: the shape of every array.
at::Tensor sizes_of(const Sources& sources) {
  const auto ndim = static_cast<std::int64_t>(sources.forms()[0].ndim);
  at::Tensor sizes = make_int64({static_cast<std::int64_t>(sources.size()), ndim});
  auto* next = static_cast<std::int64_t*>(sizes.mutable_data_ptr());
  sources.for_each([&](const ArrayView& view, std::int64_t) {
    next = std::copy(view.shape, view.shape + view.ndim, next);
  });
  return sizes;
}

// [arrays + 1]: where each array begins along the first dimension, and the end.
at::Tensor offsets_of(const Sources& sources) {
  at::Tensor offsets = make_int64({static_cast<std::int64_t>(sources.size()) + 1});
  auto* next = static_cast<std::int64_t*>(offsets.mutable_data_ptr());
  std::int64_t offset = 0;
  *next++ = offset;
  sources.for_each([&](const ArrayView& view, std::int64_t) { *next++ = offset += view.shape[0]; });
  return offsets;
}

at::Tensor extents_of(const Sources& sources, Operation operation) {
  if (operation == Operation::kPad) return sizes_of(sources);
  if (operation == Operation::kJagged) return offsets_of(sources);
  return {};
}

}  // namespace

Batch make_batch(py::handle arrays, const BatchOptions& options) {
  check_options(options);
  BatchReader reader(arrays, options);
  reader.read_all();
  const Sources& sources = reader.sources();
  const Layout layout = plan_layout(sources, options.layout);
  const c10::ScalarType dtype = options.dtype ? *options.dtype : promoted_dtype(sources);
  const Padding padding(layout, options.padding, dtype);

  if (options.out) check_out(*options.out, layout.shape, dtype);
  const bool is_in_the_way = options.out && may_overlap(*options.out, sources);
  const at::Tensor written =
      options.out && !is_in_the_way
          ? *options.out
          : make_output(layout.shape, dtype, options.memory_format, options.pin_memory);
  at::Tensor extents = extents_of(sources, options.layout.operation);
  without_gil(written.nbytes(), [&] {
    gather(sources, layout, padding, written, /*is_warm=*/options.out && !is_in_the_way,
           options.threads);
    if (is_in_the_way) gather_tensor(written, *options.out, options.threads);
  });
  if (options.out && !options.out->is_inference()) {
    options.out->unsafeGetTensorImpl()->bump_version();
  }
  if (any_discards_imaginary(sources, dtype)) warn_discarded_imaginary();
  return {options.out ? *options.out : written, std::move(extents)};
}

}  // namespace tensorlift
