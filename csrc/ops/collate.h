// collate: samples → a batch of the same structure, as torch.utils.data.default_collate, in one
// walk over the samples.
#pragma once

#include "binding/python_api.h"
#include "ops/columns.h"

namespace tensorlift {

struct CollateOptions {
  py::handle fn_map;       // a dict, as for torch's collate, or None
  py::handle options_for;  // a function from steps_of(place) to parse_column_options()'s, or None
  ColumnsTarget target;
  py::handle out;    // a tree of the caller's tensors, see ops/collate_out.h; or None
  py::handle check;  // a function that is called before any of those is written to, or None
};

// What is strange (containers and values of types that are not known here) is left to the functions
// of tensorlift._data.collate, which leave it to torch. GIL held; released while elements are
// copied, if that is much, or sent.
[[nodiscard]] py::object collate(py::handle samples, const CollateOptions& options);

}  // namespace tensorlift
