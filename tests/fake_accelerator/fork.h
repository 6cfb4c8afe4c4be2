// Fork: a child of a process that used the device must not use it, as with CUDA.
#pragma once

namespace fake {

// From now on a forked child is a bad one.
void mark_used();

// Is this a forked child whose parent had used the device? Its locks may be held by threads that it
// does not have, and its device memory is its parent's.
[[nodiscard]] bool is_in_bad_fork();

// Throws c10::Error (RuntimeError) in such a child.
void refuse_bad_fork();

}  // namespace fake
