// Columns: what stands in the same place of all samples, for each such place → a batch each, all in
// one gather or one transfer.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "binding/python_api.h"
#include "device/transfer.h"
#include "input/source_reader.h"
#include "ops/batch.h"
#include "ops/column_memory.h"
#include "plan/batch_plan.h"

namespace tensorlift {

// How a column is joined.
struct ColumnOptions {
  BatchOptions batch;
  py::object mask_key;  // what the mask is put under, beside the column; or null
};

// The caller's tensors that a column is written to, each of the shape and the dtype of what it gets
// (see ops/collate_out.h); undefined: a new one is made.
struct ColumnOut {
  at::Tensor values, sizes, mask;
};

// What is to become one tensor, or a pair of them. GIL held, here and below.
struct Column {
  // Reads arrays, NumPy scalars and tensors, which the caller holds as long as this lives. Throws
  // TypeError, ValueError or IndexError that names arrays[i], or c10::Error: dtypes that do not
  // promote.
  Column(c10::ArrayRef<PyObject*> values, const ColumnOptions& options);

  // Numbers that are a column as they are: [count].
  Column(std::vector<char> elements, c10::ScalarType dtype, std::optional<c10::ScalarType> cast_to);

  // The tensor, or (values, sizes, mask or None) or (values, offsets), once it is filled. A mask
  // that has a key is not among them.
  [[nodiscard]] py::object result() const;

  SourceReader reader;
  std::vector<char> numbers;
  const Sources own_sources;  // of `numbers`
  const BatchPlan plan;
  const py::object mask_key;
  const std::optional<c10::MemoryFormat> memory_format;  // that is asked for
  bool discards;                                         // imaginary parts
  ColumnOut out;
  at::Tensor values;
  at::Tensor sizes;  // undefined where there are none
  at::Tensor mask;   // the same
};
using Columns = std::vector<std::unique_ptr<Column>>;

// The arguments of stack, pad or jagged: a tuple (operation, dtype, channel_dim, memory_format,
// own, normalize), or None for those of stack. `own`: None for stack; the dtype of the offsets for
// jagged; for pad a tuple of what PaddingArguments has, the mask's key or None, and whether sizes
// are wanted. `normalize`: a tuple of what NormalizeArguments has, or None.
[[nodiscard]] ColumnOptions parse_column_options(py::handle options);

// Where columns are to be, and how many threads may copy; none: as many as torch uses.
struct ColumnsTarget {
  ColumnsMemory memory = ColumnsMemory::kOwn;
  std::optional<TransferOptions> device;  // if there is one, there and not in `memory`
  std::optional<int> threads;
};

// Torch's warning where imaginary parts will be discarded, once. Runs Python code.
void warn_if_discarding(const Columns& columns);

// Fills all columns: what is read lies in none of their own tensors before, or is read first. The
// GIL is released while elements are sent, or copied, if that is much.
void join(const Columns& columns, const ColumnsTarget& target);

}  // namespace tensorlift
