#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../../csrc/parallel/thread_pool.h"
#include "check.h"
#include "engine_tests.h"
#include "threads.h"

namespace tensorlift::native {
namespace {

constexpr int kCallers = 8;

// How often each piece has run. Plain numbers: a piece that runs twice at the same time, or after
// run_pieces() has returned, is a race.
using Counts = std::vector<int>;

void run_and_check(std::int64_t pieces, int threads) {
  Counts counts(static_cast<std::size_t>(pieces));
  auto count = [&counts](std::int64_t piece) noexcept {
    ++counts[static_cast<std::size_t>(piece)];
  };
  run_pieces(pieces, threads, PieceFunction(count));
  check(std::all_of(counts.begin(), counts.end(), [](int n) { return n == 1; }),
        "every piece runs once, before the call returns");
}

void test_many_callers() {
  on_threads(kCallers, [](int caller) {
    for (int round = 0; round < 30; ++round) run_and_check(200 + caller, 1 + (caller + round) % 5);
  });
}

// The call is over almost before a worker is there: its caller's stack is used again at once.
void test_short_calls() {
  on_threads(kCallers, [](int /*caller*/) {
    for (int round = 0; round < 300; ++round) run_and_check(round % 4, 3);
  });
}

void test_calls_within_pieces() {
  on_threads(kCallers / 2, [](int /*caller*/) {
    auto nested = [](std::int64_t piece) noexcept { run_and_check(20 + piece, 3); };
    for (int round = 0; round < 10; ++round) run_pieces(6, 3, PieceFunction(nested));
  });
}

}  // namespace

void test_pool() {
  test_many_callers();
  test_short_calls();
  test_calls_within_pieces();
}

}  // namespace tensorlift::native
