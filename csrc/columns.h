// columns: many lists of arrays → one stacked tensor each, all in one gather.
#pragma once

#include <optional>
#include <string>

#include "python_api.h"

namespace tensorlift {

// Where tensors lie.
enum class ColumnsMemory {
  kOwn,          // each in memory of its own
  kTorchShared,  // all in one block of torch's shared memory, as views
  kSegment,      // all in one segment of ours, as views
};

// "own", "torch" or "segment".
[[nodiscard]] ColumnsMemory parse_columns_memory(const std::string& name);

// `columns`: a list of lists, or of arrays of at least one dimension, which are a column as they
// are; `dtypes`: for each a torch.dtype or None. A list with a tensor for
// each column, or the exception, not raised, that says why it cannot be stacked. GIL held; let go
// of while elements are copied, if that is much.
[[nodiscard]] py::list stack_columns(const py::list& columns, const py::list& dtypes,
                                     ColumnsMemory memory, std::optional<int> threads);

}  // namespace tensorlift
