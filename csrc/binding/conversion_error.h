// Conversion error: why an array cannot be converted, in words that say what to do about it.
#pragma once

#include <cstddef>
#include <string>

#include "binding/python_api.h"
#include "plan/array_view.h"
#include "plan/plan.h"

namespace tensorlift {

// Is the item of the wrong kind (TypeError), or is its value or layout not allowed (ValueError)?
[[nodiscard]] bool is_type_error(const Plan& plan);

// "arrays[3]: expected ..., got .... Remedy." for a plan whose action is kReject. GIL held; runs
// Python code (a dtype's name), so there must be no view any more, only its shape.
[[nodiscard]] std::string conversion_message(std::size_t index, PyObject* item, const Shape& shape,
                                             const Plan& plan);

// Throws the above as TypeError or ValueError.
[[noreturn]] void throw_conversion_error(std::size_t index, PyObject* item, const Shape& shape,
                                         const Plan& plan);

}  // namespace tensorlift
