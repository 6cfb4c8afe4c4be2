// Thread pool: runs numbered pieces of work on several threads. Knows nothing of arrays or Python.
#pragma once

#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace tensorlift {

// Borrowed: it must outlive the call that it is given to, and not throw.
using PieceFunction = c10::function_ref<void(std::int64_t)>;

// Calls body(0) ... body(pieces - 1), each once, in any order, on at most `threads` threads, of
// which the caller is one; returns when all have returned.
//
// The threads are torch's while those are awake (openmp_team.h), else our own: shared by all
// callers, started when first needed and kept; a caller never waits for a busy one: it does the
// work itself. After fork() the child starts threads of its own.
//
// Call without the GIL when the work is long: no thread touches Python.
void run_pieces(std::int64_t pieces, int threads, PieceFunction body);

// As many threads as torch would use on this thread: torch.get_num_threads().
[[nodiscard]] int default_threads();

}  // namespace tensorlift
