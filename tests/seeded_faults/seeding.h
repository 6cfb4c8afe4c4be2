// What the edits of edits.py ask and call. Only in the copy of csrc that they are made to.
#pragma once

#include <string>

namespace tensorlift {

[[nodiscard]] bool is_seeded(const char* fault);
void seed(std::string fault);  // an empty name: none

// Where the next caller is made to wait until open_gate().
void pass_gate();
void close_gate();
[[nodiscard]] bool somebody_waits_at_gate();
void open_gate();

}  // namespace tensorlift
