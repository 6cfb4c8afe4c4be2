// Batch options: the arguments of stack, cat, pad and jagged, checked. GIL held.
#pragma once

#include "binding/python_api.h"
#include "ops/batch.h"
#include "ops/pack.h"

namespace tensorlift {

// "stack", "cat", "pad" or "jagged". Throws TypeError or ValueError.
[[nodiscard]] Operation parse_operation(py::handle operation);

// What all four take. Throws TypeError or ValueError that names the option.
void parse_batch_options(py::handle dtype, py::handle channel_dim, py::handle memory_format,
                         py::handle out, py::handle pin_memory, py::handle threads,
                         BatchOptions& options);

// `dim` of stack and cat: an int.
void parse_dim(py::handle dim, BatchOptions& options);

// `offsets_dtype` of jagged: torch.int64 or torch.int32.
[[nodiscard]] c10::ScalarType parse_offsets_dtype(py::handle dtype);

// A 1-D tensor of such a dtype in the host's memory, with at least one number.
[[nodiscard]] at::Tensor parse_offsets(py::handle offsets);

// What pad takes besides: a number; "right" or "left", or one for each dimension; None, a positive
// int, or one for each dimension; the same, and None for some of them; None, "right" or "left"; a
// bool or a torch.dtype; None, an int or several.
struct PaddingArguments {
  py::handle padding_value;
  py::object padding_side = py::str("right");
  py::handle pad_to_multiple_of = Py_None, max_length = Py_None, truncate = Py_None;
  py::handle mask = Py_False, mask_dim = Py_None;
};
void parse_padding(const PaddingArguments& arguments, BatchOptions& options);

// What pack takes besides: a positive int; "first_fit_decreasing" or "sequential"; "right", "left"
// or None.
void parse_packing(py::handle max_tokens, py::handle strategy, py::handle truncate,
                   PackOptions& options);

}  // namespace tensorlift
