// Lists of Python numbers, such as a tokenizer returns: read into memory of our own.
#pragma once

#include <memory_resource>
#include <optional>

#include "binding/python_api.h"
#include "input/elements.h"
#include "plan/array_view.h"

namespace tensorlift {

struct NumberList {
  void* elements;  // contiguous
  c10::ScalarType dtype;
  Shape shape;
};

// Numbers that are exactly int, bool or float, in a list or tuple, or in lists of lists of equal
// lengths, with the dtype that torch.tensor(list) gives; int64 where there are none. Their elements
// are of `memory`. std::nullopt: something else. Runs no Python code. GIL held.
[[nodiscard]] std::optional<NumberList> read_number_list(PyObject* list,
                                                         std::pmr::memory_resource& memory);

}  // namespace tensorlift
