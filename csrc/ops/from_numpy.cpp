#include "ops/from_numpy.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "binding/conversion_error.h"
#include "binding/gc_pause.h"
#include "binding/gil.h"
#include "binding/owner.h"
#include "binding/untracked_list.h"
#include "binding/warnings.h"
#include "copy/gather.h"
#include "errors.h"
#include "input/inspect.h"
#include "input/items.h"
#include "memory/build.h"
#include "memory/pinned.h"
#include "ops/from_numpy_packed.h"
#include "ops/from_numpy_pinned.h"

namespace tensorlift {
namespace {

// How far ahead to load array headers. A million shuffled arrays, creation alone: 740 ns an array
// without, 414 with 4, about 500 with 8 and 16.
constexpr std::size_t kPrefetchDistance = 4;

// What the user is told about once per call, however many arrays it concerns.
struct Notes {
  std::size_t shared_readonly = 0;
  std::size_t first_readonly = 0;
  bool discarded_imaginary = false;
};

// torch's own words first, so that filters written for torch.from_numpy match.
void emit(const Notes& notes) {
  if (notes.shared_readonly > 0) {
    std::string message =
        "The given NumPy array is not writable, and PyTorch does not support non-writable tensors. "
        "This means writing to this tensor will result in undefined behavior. You may want to copy "
        "the array to protect its data or make it writable before converting it to a tensor. "
        "(arrays[" +
        std::to_string(notes.first_readonly) + "]";
    if (notes.shared_readonly > 1) {
      message += " and " + std::to_string(notes.shared_readonly - 1) + " more";
    }
    warn(message + "; see the option readonly=)");
  }
  if (notes.discarded_imaginary) warn_discarded_imaginary();
}

void take_notes(Notes& notes, std::size_t index, const ArrayView& view, const Plan& plan,
                ReadonlyPolicy readonly) {
  if (plan.action == Action::kShare) {
    if (!view.writeable && readonly == ReadonlyPolicy::kWarn) {
      if (notes.shared_readonly++ == 0) notes.first_readonly = index;
    }
  } else {
    notes.discarded_imaginary |= discards_imaginary(view.element.dtype, plan.dtype);
  }
}

// The tensors of a call that need a copy. They are no Python objects before they are full: until
// then other threads could find them, and resize them away under the gathering threads.
struct Copies {
  GatherJobs jobs;
  std::vector<std::pair<std::size_t, at::Tensor>> tensors;  // with their place in the list
  std::vector<py::object> scalars;  // arrays that inspect() made, alive until they are copied
};

// A tensor over an array in a pinned block, by whose context torch recognises it (see pinned.h).
// The array has the block.
at::Tensor build_over_pinned(TensorArena& arena, const PinnedBlock& block, c10::DataPtr&& array,
                             std::size_t nbytes, c10::ScalarType dtype, c10::IntArrayRef shape,
                             c10::IntArrayRef strides) {
  c10::DataPtr memory = memory_of(block, array.get());
  return build_shared_with_owner(arena, std::move(memory), std::move(array), nbytes, dtype, shape,
                                 strides);
}

// Builds every tensor; the shared ones are put into the list.
void build_all(Items& items, const ConvertOptions& options, UntrackedList& tensors, Copies& copies,
               Notes& notes) {
  GcPause gc_pause;
  TensorArena arena(items.size());
  const bool any_pinned = has_pinned_blocks();
  Plan plan;
  py::object scalar;
  HeaderCopy header;
  for (std::size_t i = 0; i < items.size(); ++i) {
    items.prefetch(i + kPrefetchDistance);
    const bool is_exact = PyArray_CheckExact(items[i]);
    if (!is_exact) {
      gc_pause.end();  // a mask may be asked for
      items.read_foreign(i);
    }
    const ArrayView view =
        is_exact ? inspect_exact(items[i], header) : inspect(items[i], &scalar, header);
    if (!is_exact) gc_pause.begin();
    plan_array(view, options, plan);
    if (plan.action == Action::kReject) {
      const Shape shape = shape_of(view);
      gc_pause.end();
      throw_conversion_error(i, items[i], shape, plan);
    }
    take_notes(notes, i, view, plan, options.readonly);

    const c10::IntArrayRef shape(view.shape, static_cast<std::size_t>(view.ndim));
    at::Tensor tensor;
    if (plan.action == Action::kShare) {
      const c10::IntArrayRef strides(plan.strides, shape.size());
      const auto block = any_pinned ? find_pinned(view.data, plan.nbytes) : std::nullopt;
      c10::DataPtr array = own(items.take(i), view.data);
      tensor = block
                   ? build_over_pinned(arena, *block, std::move(array), plan.nbytes, plan.dtype,
                                       shape, strides)
                   : build_shared(arena, std::move(array), plan.nbytes, plan.dtype, shape, strides);
    } else {
      tensor = build_empty(arena, plan.nbytes, plan.dtype, shape);
      copies.jobs.add(view, plan.numel, plan.dtype, tensor.mutable_data_ptr());
      copies.tensors.emplace_back(i, std::move(tensor));
      if (scalar) copies.scalars.push_back(std::exchange(scalar, py::object()));
      continue;
    }
    tensors.set(i, std::move(tensor));
  }
}

void fill(Copies& copies, std::optional<int> threads, UntrackedList& tensors) {
  if (!copies.jobs.empty()) {
    without_gil(copies.jobs.nbytes(), [&] { copies.jobs.run(threads); });
  }
  const GcPause no_finalizers;
  for (auto& [index, tensor] : copies.tensors) tensors.set(index, std::move(tensor));
}

py::list from_numpy_to_host(py::handle arrays, const ConvertOptions& options,
                            std::optional<int> threads) {
  Items items(arrays);
  UntrackedList tensors(items.size());
  Copies copies;
  Notes notes;
  build_all(items, options, tensors, copies, notes);
  fill(copies, threads, tensors);
  emit(notes);
  return std::move(tensors).track();
}

py::list from_numpy_to_plain_device(py::handle arrays, ConvertOptions options,
                                    const DeviceOptions& device, std::optional<int> threads) {
  options.readonly = ReadonlyPolicy::kShare;  // it is only read
  const py::list on_host = from_numpy_to_host(arrays, options, threads);
  UntrackedList tensors(on_host.size());
  for (std::size_t i = 0; i < on_host.size(); ++i) {
    tensors.set(i, to_plain_device(unpack_tensor(on_host[i]), device));
  }
  return std::move(tensors).track();
}

void check_options(const ConvertOptions& options, const Placement& placement) {
  if (options.copy != CopyPolicy::kNever || (!placement.device && !placement.pin_memory)) return;
  const std::string where = placement.device
                                ? "device=\"" + placement.device->transfer.device.str() + "\""
                                : "pin_memory=True";
  throw ValueError("copy: expected None or True with " + where + ", got False: it always copies.");
}

}  // namespace

py::object from_numpy(py::handle arrays, const ConvertOptions& options, const Placement& placement,
                      std::optional<int> threads) {
  check_options(options, placement);
  if (placement.device && placement.device->is_plain) {
    return from_numpy_to_plain_device(arrays, options, *placement.device, threads);
  }
  if (placement.device) {
    return from_numpy_packed(arrays, options, placement.device->transfer, placement.packing,
                             threads);
  }
  if (placement.pin_memory) return from_numpy_pinned(arrays, options, threads);
  return from_numpy_to_host(arrays, options, threads);
}

}  // namespace tensorlift
