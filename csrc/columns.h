// columns: many lists of arrays → one stacked tensor each, all in one gather.
#pragma once

#include <optional>

#include "python_api.h"

namespace tensorlift {

// `columns`: a list of lists, or of arrays of at least one dimension, which are a column as they
// are; `dtypes`: for each a torch.dtype or None. A list with a tensor for
// each column, or the exception, not raised, that says why it cannot be stacked. With `shared` all
// of them lie in one segment of shared memory, as views; else each has memory of its own. GIL held;
// let go of while elements are copied, if that is much.
[[nodiscard]] py::list stack_columns(const py::list& columns, const py::list& dtypes, bool shared,
                                     std::optional<int> threads);

}  // namespace tensorlift
