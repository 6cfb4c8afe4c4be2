// Options: the arguments of the Python call, checked, as the planner wants them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "binding/python_api.h"
#include "plan/plan.h"

namespace tensorlift {

// `dtype`: torch.dtype or None; `copy`: bool or None; `readonly`: "warn", "share", "copy" or
// "error". Throws TypeError or ValueError that names the option. GIL held.
[[nodiscard]] ConvertOptions parse_convert_options(py::handle dtype, py::handle copy,
                                                   py::handle readonly);

// A torch.dtype of plain numbers, or None. Throws TypeError. GIL held.
[[nodiscard]] std::optional<c10::ScalarType> parse_dtype(py::handle dtype);

// True or False. Throws TypeError. GIL held.
[[nodiscard]] bool parse_bool(const char* option, py::handle flag);

// Whatever has __index__, but for bool, clipped to 64 bits. Throws TypeError. GIL held.
[[nodiscard]] std::int64_t parse_int(const char* option, const char* expected, py::handle number);

// "option: expected …, got …." as a TypeError. GIL held.
[[noreturn]] void refuse_type(const char* option, const char* expected, py::handle got);

// Clears the Python error that a conversion ended with, if any, so that the value can be refused in
// our words. Throws it where it is not about the value: MemoryError, KeyboardInterrupt. GIL held.
void clear_refusal();

// Is it about the value that was converted? GIL held.
[[nodiscard]] bool is_refusal(const py::error_already_set& error);

// repr(object), or its type where that is long. GIL held.
[[nodiscard]] std::string repr_of(py::handle object);

// A positive int or None. Throws TypeError or ValueError. GIL held.
[[nodiscard]] std::optional<int> parse_threads(py::handle threads);

}  // namespace tensorlift
