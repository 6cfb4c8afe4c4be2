#include "ops/explain_batch.h"

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "binding/torch_objects.h"
#include "errors.h"
#include "input/date_units.h"
#include "input/inspect.h"
#include "input/source_reader.h"
#include "ops/explain.h"
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

py::tuple entry_of(const Note& note, std::optional<c10::ScalarType> dtype, bool is_normalized) {
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
                                          : "part of the batch";
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

// Calls use(plan) where there would be a batch.
template <typename Use>
py::tuple explained(py::handle arrays, const BatchOptions& options, Use use) {
  ReadOptions read = read_options(options);
  read.leaves_to_torch = false;
  SourceReader reader{Items(arrays), read};
  std::vector<Note> notes;
  std::string error;
  for (std::size_t i = 0; i < reader.items().size(); ++i) {
    notes.push_back(take_note(reader, i));
    if (error.empty()) error = notes.back().error;
  }
  std::optional<c10::ScalarType> dtype;
  py::object shape = py::none();
  if (error.empty()) {
    try {
      check_date_units(reader.items(), reader.sources());
      truncate_all(reader.sources(), options.truncation, notes);
      const BatchPlan plan(reader.sources(), options);
      const Shape& planned = plan.layout.shape;
      py::tuple sizes(planned.size());
      for (std::size_t d = 0; d < planned.size(); ++d) sizes[d] = py::int_(planned[d]);
      use(plan);
      dtype = plan.dtype;
      shape = std::move(sizes);
    } catch (const std::runtime_error& refusal) {
      error = refusal.what();
    }
  }
  py::list entries;
  const bool is_normalized = dtype && options.normalize;
  for (const Note& note : notes) entries.append(entry_of(note, dtype, is_normalized));
  return py::make_tuple(entries, shape, dtype ? dtype_object(*dtype) : py::object(py::none()),
                        error.empty() ? py::object(py::none()) : py::object(py::str(error)));
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
  return explained(arrays, options, [](const BatchPlan&) {});
}

py::tuple explain_pack(py::handle arrays, const PackOptions& options) {
  py::object rows = py::none();
  const py::tuple explanation = explained(arrays, options, [&](const BatchPlan& plan) {
    check_pack_total(plan.layout);
    std::vector<std::int64_t> lengths;
    plan.sources.for_each(
        [&](const ArrayView& view, std::int64_t) { lengths.push_back(view.shape[0]); });
    rows = as_tuples(pack_rows(lengths, options.max_tokens, options.strategy), lengths);
  });
  return py::make_tuple(explanation[0], explanation[1], explanation[2], explanation[3], rows);
}

void ignore_unused(BatchOptions& options) {
  const Operation operation = options.layout.operation;
  if (operation == Operation::kPad || operation == Operation::kJagged) options.layout.dim = 0;
  if (operation == Operation::kJagged) options.channel_dim.reset();
  if (operation != Operation::kPad) options.truncation = {};
  if (operation == Operation::kCat || operation == Operation::kJagged) {
    options.normalize.reset();
    options.reverses_channels = false;
  }
}

}  // namespace tensorlift
