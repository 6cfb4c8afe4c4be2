// OpenMP team: torch's own threads (OpenMP's), for as long as they are awake.
#pragma once

#include "parallel/thread_pool.h"

namespace tensorlift {

// Calls body(0) ... body(threads - 1), each on one of the threads that at::parallel_for would use,
// and returns true; or does nothing and returns false, where they sleep or must not be used.
//
// After every operation torch's threads wait for the next one in a loop, for many milliseconds.
// Other threads then get the cores for half of the time at best; torch's are there at once. (On 2
// cores, turn by turn with torch.stack: 0.9 to 1.4 of its speed with our threads, 1.5 with torch's;
// 100 MiB of casts: 0.7 of the speed of Tensor.copy_, and 1.0.) Once asleep they are slow to wake:
// 5 ms on a virtual machine, where the caller waits for all of them.
//
// Never used: in a forked child, where OpenMP's threads are gone and GNU's would hang
// (pytorch#17199); from other threads than the main one, for which OpenMP starts a team each; where
// nobody can tell whether a thread runs (all systems but Linux).
[[nodiscard]] bool run_on_openmp_team(int threads, PieceFunction body);

}  // namespace tensorlift
