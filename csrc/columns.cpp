#include "columns.h"

#include <torch/csrc/Storage.h>
#include <torch/csrc/autograd/python_variable.h>

#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "allocate.h"
#include "batch_jobs.h"
#include "batch_on_device.h"
#include "build.h"
#include "conduct.h"
#include "date_units.h"
#include "errors.h"
#include "gil.h"
#include "layout.h"
#include "options.h"
#include "output.h"
#include "padding.h"
#include "pinned.h"
#include "promote.h"
#include "segment_pool.h"
#include "source_reader.h"
#include "staging.h"

namespace tensorlift {
namespace {

// A column that can be stacked.
struct Column {
  Column(py::handle items, Operation operation, std::optional<c10::ScalarType> wanted)
      : reader(items, ReadOptions{wanted, std::nullopt}) {
    reader.read_all();
    check_date_units(reader.items(), reader.sources());
    LayoutOptions options;
    options.operation = operation;
    layout = plan_layout(reader.sources(), options);
    dtype = wanted ? *wanted : promoted_dtype(reader.sources());
    nbytes = checked_nbytes(layout.shape, dtype);
    discards = any_discards_imaginary(reader.sources(), dtype);
  }

  SourceReader reader;
  Layout layout;
  c10::ScalarType dtype;
  std::size_t nbytes;
  bool discards;
  at::Tensor values;
};
using Columns = std::vector<std::unique_ptr<Column>>;  // nullptr: one that cannot

py::object as_exception(PyObject* type, const char* message) {
  return py::reinterpret_borrow<py::object>(type)(message);
}

// A column, or what is wrong with it.
std::unique_ptr<Column> read_column(py::handle items, py::handle dtype, py::object& error) {
  try {
    const bool is_one_array = PyArray_Check(items.ptr());
    if (!is_one_array)
      return std::make_unique<Column>(items, Operation::kStack, parse_dtype(dtype));
    const py::tuple alone = py::make_tuple(items);
    return std::make_unique<Column>(alone, Operation::kCat, parse_dtype(dtype));
  } catch (const TypeError& refusal) {
    error = as_exception(PyExc_TypeError, refusal.what());
  } catch (const ValueError& refusal) {
    error = as_exception(PyExc_ValueError, refusal.what());
  } catch (const c10::Error& refusal) {  // dtypes that do not promote
    error = as_exception(PyExc_TypeError, refusal.what_without_backtrace());
  }
  return nullptr;
}

c10::Storage torch_shared(std::size_t nbytes) {
  const py::object storage =
      py::module_::import("torch").attr("UntypedStorage").attr("_new_shared")(nbytes);
  const at::Storage& unpacked = THPStorage_Unpack(storage.ptr());
  if (!populate(unpacked.mutable_data(), nbytes)) {
    throw RuntimeError("shared memory: expected " + std::to_string(nbytes) +
                       " bytes for a batch, got less: it is full. Use fewer or smaller batches, or "
                       "enlarge it (/dev/shm; Docker: --shm-size).");
  }
  return unpacked;
}

c10::Storage segment(std::size_t nbytes) {
  c10::DataPtr memory;
  {
    const GilRelease release;
    memory = allocate_segment(nbytes);
  }
  if (!memory) return torch_shared(nbytes);
  return {c10::Storage::use_byte_size_t(), nbytes, std::move(memory), /*allocator=*/nullptr,
          /*resizable=*/false};
}

at::Tensor pinned(c10::IntArrayRef shape, c10::ScalarType dtype) {
  const GilRelease release;  // it can take long
  return make_pinned(shape, dtype);
}

// A tensor of bytes for many columns; undefined for ColumnsMemory::kOwn.
at::Tensor make_common(std::size_t nbytes, ColumnsMemory memory) {
  if (memory == ColumnsMemory::kOwn || nbytes == 0) return {};
  const auto size = static_cast<std::int64_t>(nbytes);
  if (memory == ColumnsMemory::kPinned) return pinned({size}, c10::kByte);
  ImplArena arena(1);
  return build_over_storage(
      arena, memory == ColumnsMemory::kSegment ? segment(nbytes) : torch_shared(nbytes), c10::kByte,
      {size});
}

void allocate(const Columns& columns, ColumnsMemory where) {
  const std::size_t own_from = where == ColumnsMemory::kPinned
                                   ? staging_settings().own_storage_bytes
                                   : std::numeric_limits<std::size_t>::max();
  std::size_t total = 0;
  for (const auto& column : columns) {
    if (column && column->nbytes < own_from) total += slot_aligned(column->nbytes);
  }
  const at::Tensor memory = make_common(total, where);
  ImplArena arena(columns.size());
  std::size_t offset = 0;
  for (const auto& column : columns) {
    if (!column) continue;
    if (column->nbytes >= own_from) {
      column->values = pinned(column->layout.shape, column->dtype);
    } else if (memory.defined()) {
      column->values = build_view(arena, memory, column->dtype, offset, column->layout.shape);
      offset += slot_aligned(column->nbytes);
    } else {
      column->values = build_empty(arena, column->nbytes, column->dtype, column->layout.shape);
    }
  }
}

void fill(const Columns& columns, std::optional<int> threads) {
  const Layout no_layout{};
  GatherJobs jobs;
  std::size_t count = 0;
  for (const auto& column : columns) count += column ? column->reader.sources().size() : 0;
  jobs.reserve(count);
  for (const auto& column : columns) {
    if (!column || column->nbytes == 0) continue;
    const Padding none(0, column->dtype);
    const Destination target = destination_of(column->values);
    BatchJobs batch(column->reader.sources(), column->layout, none, target.dtype, target.data,
                    target.strides, jobs);
    batch.add_all([] { return false; });
  }
  without_gil(jobs.nbytes(), [&] { jobs.run(threads); });
}

void send_all(const Columns& columns, const TransferOptions& device, std::optional<int> threads) {
  std::deque<Padding> paddings;  // none: of each column's dtype
  std::vector<BatchToSend> batches;
  for (const auto& column : columns) {
    if (!column) continue;
    batches.push_back({column->reader.sources(), column->layout,
                       paddings.emplace_back(0, column->dtype), column->dtype});
  }
  if (batches.empty()) return;
  const GilRelease release;
  std::vector<SentBatch> sent = send_batches(batches, device, threads);
  auto next = sent.begin();
  for (const auto& column : columns) {
    if (column) column->values = std::move(next++->values);
  }
}

}  // namespace

ColumnsMemory parse_columns_memory(const std::string& name) {
  if (name == "own") return ColumnsMemory::kOwn;
  if (name == "pinned") return ColumnsMemory::kPinned;
  if (name == "torch") return ColumnsMemory::kTorchShared;
  if (name == "segment") return ColumnsMemory::kSegment;
  throw InternalError("memory: expected own, pinned, torch or segment, got " + name);
}

py::list stack_columns(const py::list& columns, const py::list& dtypes, ColumnsMemory memory,
                       const std::optional<TransferOptions>& device, std::optional<int> threads) {
  if (columns.size() != dtypes.size()) {
    throw InternalError("stack_columns: expected a dtype for each column");
  }
  Columns readable;
  py::list results;
  bool discards = false;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    py::object error = py::none();
    readable.push_back(read_column(columns[c], dtypes[c], error));
    discards |= readable.back() && readable.back()->discards;
    results.append(error);
  }
  if (discards) warn_discarded_imaginary();
  if (device) {
    send_all(readable, *device, threads);
  } else {
    allocate(readable, memory);
    fill(readable, threads);
  }
  for (std::size_t c = 0; c < readable.size(); ++c) {
    if (readable[c]) results[c] = py::cast(readable[c]->values);
  }
  return results;
}

}  // namespace tensorlift
