#include "ops/explain_batch.h"

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "binding/torch_objects.h"
#include "device/batch_on_device.h"
#include "errors.h"
#include "input/date_units.h"
#include "input/inspect.h"
#include "input/source_reader.h"
#include "ops/explain.h"
#include "ops/from_numpy_packed.h"
#include "plan/batch_plan.h"

namespace tensorlift {
namespace {

// What is known of an item before the others are.
struct Note {
  bool accepted;
  bool truncated;
  Reason reason;
  c10::ScalarType dtype;
  std::int64_t numel;
  py::object dtype_in;  // of numpy or torch; None where it is no array
  py::object shape;
  std::string error;
};

bool is_readable(PyObject* item) {
  return is_tensor(item) || PyArray_Check(item) || PyArray_IsScalar(item, Generic);
}

py::object dtype_in(PyObject* item) {
  if (!is_readable(item)) return py::none();
  if (is_tensor(item)) return dtype_object(unpack_tensor(item).scalar_type());
  return dtype_of(item);
}

py::object shape_in(PyObject* item) {
  if (!is_readable(item)) return py::none();
  const auto* array = reinterpret_cast<PyArrayObject*>(item);
  const bool is_array = PyArray_Check(item);
  if (!is_array && !is_tensor(item)) return py::tuple();  // a NumPy scalar
  const at::Tensor tensor = is_array ? at::Tensor() : unpack_tensor(item);
  if (!is_array && tensor.is_nested()) return py::none();
  const auto ndim =
      is_array ? static_cast<std::size_t>(PyArray_NDIM(array)) : tensor.sizes().size();
  const Shape sizes = is_array ? Shape(PyArray_DIMS(array), PyArray_DIMS(array) + ndim)
                               : Shape(tensor.sizes().begin(), tensor.sizes().end());
  py::tuple shape(ndim);
  for (std::size_t d = 0; d < ndim; ++d) shape[d] = py::int_(sizes[d]);
  return shape;
}

Note take_note(SourceReader& reader, std::size_t index) {
  Note note{false, false, Reason::kNotAnArray, c10::ScalarType::Undefined, 0, {}, {}, ""};
  try {
    const Plan plan = reader.read(index);
    note.accepted = true;
    note.reason = plan.reason;
    note.dtype = reader.sources().signatures().back().element.dtype;
    note.numel = plan.numel;
  } catch (const std::runtime_error& error) {  // TypeError, ValueError, IndexError
    note.error = error.what();
  }
  PyObject* item = reader.items()[index];  // an array now, if it was something with memory
  note.dtype_in = dtype_in(item);
  note.shape = shape_in(item);
  return note;
}

// How arrays get to a device. One without elements does not.
struct Route {
  const char* way;  // nullptr: none
  bool is_cast, is_cast_there;
};

py::object text_or_none(const char* text) {
  return text == nullptr ? py::object(py::none()) : py::object(py::str(text));
}

py::tuple with_route(const py::tuple& entry, const std::optional<Route>& route) {
  if (!route) return entry;
  const char* cast = route->is_cast_there ? "device" : route->is_cast ? "host" : nullptr;
  return py::tuple(entry + py::make_tuple(text_or_none(route->way),
                                          text_or_none(route->way == nullptr ? nullptr : cast)));
}

py::object transfer_tuple(const DeviceOptions& device, const TransferCounts& counts) {
  return py::make_tuple(device_object(device.transfer.device), counts.windows, counts.copies,
                        counts.nbytes, counts.casts);
}

// Of Tensor.to(), for tensors of these sizes.
TransferCounts plain_counts(c10::ArrayRef<std::size_t> sizes) {
  TransferCounts counts;
  for (const std::size_t nbytes : sizes) {
    if (nbytes == 0) continue;
    ++counts.copies;
    counts.nbytes += nbytes;
  }
  return counts;
}

py::tuple entry_of(const Note& note, std::optional<c10::ScalarType> dtype, bool is_normalized,
                   const char* purpose) {
  if (!note.accepted) {
    return py::make_tuple("rejected", "cannot be read", note.shape, note.dtype_in, py::none(), 0,
                          note.error);
  }
  const c10::ScalarType to = dtype.value_or(note.dtype);
  const bool is_as_it_is = note.reason == Reason::kCopyRequested || note.reason == Reason::kCast;
  const char* reason = !is_as_it_is       ? reason_text(note.reason)
                       : is_normalized    ? "normalized"
                       : note.dtype != to ? reason_text(Reason::kCast)
                       : note.truncated   ? "truncated"
                                          : purpose;
  std::int64_t nbytes = 0;
  const auto itemsize = static_cast<std::int64_t>(c10::elementSize(to));
  if (__builtin_mul_overflow(note.numel, itemsize, &nbytes))
    nbytes = 0;  // there is an error anyhow
  return py::make_tuple("copied", reason, note.shape, note.dtype_in, dtype_object(to), nbytes,
                        py::none());
}

void truncate_all(Sources& sources, const Truncation& truncation, std::vector<Note>& notes) {
  truncate(sources, truncation);
  auto note = notes.begin();
  sources.for_each([&note](const ArrayView&, std::int64_t numel) {
    note->truncated = numel != note->numel;
    note->numel = numel;
    ++note;
  });
}

}  // namespace

namespace {

// What is known of all items, and the first error.
struct NotesOfAll {
  std::vector<Note> notes;
  std::string error;
};

NotesOfAll notes_of_all(SourceReader& reader) {
  NotesOfAll all;
  for (std::size_t i = 0; i < reader.items().size(); ++i) {
    all.notes.push_back(take_note(reader, i));
    if (all.error.empty()) all.error = all.notes.back().error;
  }
  return all;
}

// How a batch gets to a device.
struct BatchTransferred {
  TransferCounts counts;
  const char* way;
  bool is_converted_there;
};

BatchTransferred transferred(const std::vector<BatchToSend>& batches, const DeviceOptions& device) {
  if (!device.is_plain) {
    const BatchRoute route = route_of(batches);
    return {route.counts, "packed", route.is_converted_there};
  }
  std::vector<std::size_t> sizes;
  for (const BatchToSend& batch : batches) {
    sizes.push_back(batch.plan.nbytes);
    if (batch.sizes.defined()) sizes.push_back(batch.sizes.nbytes());
  }
  return {plain_counts(sizes), "plain", false};
}

// `transfer(plan)` is asked where there would be a batch, and is on its way to a device if it says
// so.
template <typename Transfer>
py::tuple explained(py::handle arrays, const BatchOptions& options, Transfer transfer) {
  ReadOptions read = read_options(options);
  read.leaves_to_torch = false;
  SourceReader reader{Items(arrays), read};
  auto [notes, error] = notes_of_all(reader);
  std::optional<c10::ScalarType> dtype;
  std::optional<BatchTransferred> sent;
  py::object shape = py::none();
  if (error.empty()) {
    try {
      check_date_units(reader.items(), reader.sources());
      truncate_all(reader.sources(), options.truncation, notes);
      const BatchPlan plan(reader.sources(), options);
      const Shape& planned = plan.layout.shape;
      py::tuple sizes(planned.size());
      for (std::size_t d = 0; d < planned.size(); ++d) sizes[d] = py::int_(planned[d]);
      sent = transfer(plan);
      dtype = plan.dtype;
      shape = std::move(sizes);
    } catch (const std::runtime_error& refusal) {
      error = refusal.what();
    }
  }
  py::list entries;
  const bool is_normalized = dtype && options.normalize;
  for (const Note& note : notes) {
    std::optional<Route> route;
    if (options.device) {
      const bool is_sent = sent && note.numel > 0;
      route = {is_sent ? sent->way : nullptr, is_normalized || note.dtype != dtype,
               is_sent && sent->is_converted_there};
    }
    entries.append(with_route(entry_of(note, dtype, is_normalized, "part of the batch"), route));
  }
  return py::make_tuple(
      entries, shape, dtype ? dtype_object(*dtype) : py::object(py::none()),
      error.empty() ? py::object(py::none()) : py::object(py::str(error)),
      sent ? transfer_tuple(*options.device, sent->counts) : py::object(py::none()));
}

py::tuple as_tuples(const PackedRows& rows, c10::ArrayRef<std::int64_t> lengths) {
  py::tuple result(rows.offsets.size() - 1);
  auto next = rows.sequences.begin();
  for (std::size_t r = 0; r + 1 < rows.offsets.size(); ++r) {
    py::list row;
    for (std::int64_t end = rows.offsets[r]; end < rows.offsets[r + 1];) {
      row.append(*next);
      end += lengths[static_cast<std::size_t>(*next++)];
    }
    result[r] = py::tuple(row);
  }
  return result;
}

}  // namespace

py::tuple explain_batch(py::handle arrays, const BatchOptions& options) {
  return explained(arrays, options, [&](const BatchPlan& plan) -> std::optional<BatchTransferred> {
    if (!options.device) return std::nullopt;
    std::vector<BatchToSend> batches{{plan, sizes_of_arrays(plan)}};
    if (plan.mask) batches.push_back({plan.mask->plan, {}});
    return transferred(batches, *options.device);
  });
}

py::tuple explain_pack(py::handle arrays, const PackOptions& options) {
  py::object rows = py::none();
  const py::tuple explanation =
      explained(arrays, options, [&](const BatchPlan& plan) -> std::optional<BatchTransferred> {
        std::vector<std::int64_t> lengths;
        plan.sources.for_each(
            [&](const ArrayView& view, std::int64_t) { lengths.push_back(view.shape[0]); });
        std::optional<BatchTransferred> sent;
        with_packed(plan.sources, options,
                    [&](const std::vector<BatchToSend>& batches, const PackedRows& packed) {
                      rows = as_tuples(packed, lengths);
                      if (options.device) sent = transferred(batches, *options.device);
                    });
        return sent;
      });
  return py::tuple(explanation + py::make_tuple(rows));
}

py::tuple explain_sent(py::handle arrays, std::optional<c10::ScalarType> dtype,
                       const DeviceOptions& device, Packing packing) {
  SourceReader reader{Items(arrays), ReadOptions{dtype, std::nullopt}};
  auto [notes, error] = notes_of_all(reader);
  std::vector<Route> routes;
  py::object transfer = py::none();
  if (error.empty() && device.is_plain) {
    std::vector<std::size_t> sizes;
    for (const Note& note : notes) {
      routes.push_back({"plain", dtype && note.dtype != *dtype, false});
      sizes.push_back(static_cast<std::size_t>(note.numel) *
                      c10::elementSize(dtype.value_or(note.dtype)));
    }
    transfer = transfer_tuple(device, plain_counts(sizes));
  } else if (error.empty()) {
    try {
      const ListRoute route = route_of(reader.sources(), dtype, device.transfer, packing);
      for (const ArrayRoute& array : route.arrays) {
        routes.push_back(
            {array.is_pinned ? "pinned" : "packed", array.is_cast, array.is_cast_there});
      }
      transfer = transfer_tuple(device, route.counts);
    } catch (const std::runtime_error& refusal) {
      error = refusal.what();
    }
  }
  py::list entries;
  for (std::size_t i = 0; i < notes.size(); ++i) {
    Route route{nullptr, false, false};
    if (i < routes.size() && notes[i].numel > 0) route = routes[i];
    entries.append(with_route(entry_of(notes[i], dtype, false, "sent to the device"), route));
  }
  return py::make_tuple(
      entries, error.empty() ? py::object(py::none()) : py::object(py::str(error)), transfer);
}

void ignore_unused(BatchOptions& options) {
  const Operation operation = options.layout.operation;
  if (operation == Operation::kPad || operation == Operation::kJagged) options.layout.dim = 0;
  if (operation == Operation::kJagged) options.channel_dim.reset();
  if (operation != Operation::kPad) options.truncation = {};
  if (operation != Operation::kPad) options.mask.reset();
  if (operation == Operation::kCat || operation == Operation::kJagged) {
    options.normalize.reset();
    options.reverses_channels = false;
  }
  if (operation == Operation::kJagged) options.memory_format.reset();
}

}  // namespace tensorlift
