// columns: many lists of arrays → a batch each, all in one gather.
#pragma once

#include <optional>
#include <string>

#include "binding/python_api.h"
#include "device/transfer.h"

namespace tensorlift {

// Where tensors of the host lie.
enum class ColumnsMemory {
  kOwn,          // each in memory of its own
  kPinned,       // in pinned memory: small ones in one block, as views, large ones alone
  kTorchShared,  // all in one block of torch's shared memory, as views
  kSegment,      // all in one segment of ours, as views
};

// "own", "pinned", "torch" or "segment".
[[nodiscard]] ColumnsMemory parse_columns_memory(const std::string& name);

// `columns`: a list of lists, or of arrays of at least one dimension, which are a column as they
// are; `ways`: for each None (stacked), or a tuple (operation, dtype, value, channel_dim,
// memory_format) of arguments of stack, pad or jagged. A list with the result for each column, a
// tensor or a pair of them, or the exception, not raised, that says why it cannot be joined. With
// `device` all are sent there together, else they lie in `memory`. GIL held; let go of while
// elements are sent, or copied, if that is much.
[[nodiscard]] py::list join_columns(const py::list& columns, const py::list& ways,
                                    ColumnsMemory memory,
                                    const std::optional<TransferOptions>& device);

}  // namespace tensorlift
