// Batch options: the arguments of stack, cat, pad and jagged, checked. GIL held.
#pragma once

#include "binding/python_api.h"
#include "ops/batch.h"

namespace tensorlift {

// "stack", "cat", "pad" or "jagged". Throws TypeError or ValueError.
[[nodiscard]] Operation parse_operation(py::handle operation);

// What all four take. Throws TypeError or ValueError that names the option.
void parse_batch_options(py::handle dtype, py::handle channel_dim, py::handle memory_format,
                         py::handle out, py::handle pin_memory, py::handle threads,
                         BatchOptions& options);

// `dim` of stack and cat: an int.
void parse_dim(py::handle dim, BatchOptions& options);

// `padding_value`, `padding_side` and `pad_to_multiple_of` of pad: a number; "right" or "left"; a
// positive int, a sequence of them, or None.
void parse_padding(py::handle value, py::handle side, py::handle multiple, BatchOptions& options);

}  // namespace tensorlift
