// The tensors that collate(out=) writes to: the caller's tree beside that of the batch.
#pragma once

#include <c10/core/Device.h>

#include <vector>

#include "ops/columns.h"
#include "ops/result_tree.h"

namespace tensorlift {

// Gives each tensor of the batch the rows of the caller's that it is written to. A tensor that is
// there already becomes a column of its own; `held` gets what must live until the columns are
// filled. None in `out`: what stands there is made anew. Throws TypeError, ValueError or KeyError
// that names the place, and then nothing was written. GIL held.
void bind_out(ResultNode& batch, py::handle out, c10::Device device, Columns& columns,
              std::vector<py::object>& held);

// Writes each tensor of the host to the one of `out`, which fits, in one gather or one transfer.
// GIL held; released while elements are copied, if that is much, or sent.
void write_into(const py::list& tensors, const py::list& out, const ColumnsTarget& target);

}  // namespace tensorlift
