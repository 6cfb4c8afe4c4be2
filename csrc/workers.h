// Workers: runs numbered pieces of work on several threads. Knows nothing of arrays or Python.
#pragma once

#include <cstdint>
#include <type_traits>

namespace tensorlift {

// A borrowed callable: must outlive the call that it is given to, must not throw.
class PieceBody {
 public:
  template <typename Callable>
  explicit PieceBody(Callable& callable)
      : object_(&callable), call_([](void* object, std::int64_t piece) noexcept {
          (*static_cast<Callable*>(object))(piece);
        }) {
    static_assert(std::is_nothrow_invocable_v<Callable&, std::int64_t>);
  }
  void operator()(std::int64_t piece) const noexcept { call_(object_, piece); }

 private:
  void* object_;
  void (*call_)(void*, std::int64_t) noexcept;
};

// Calls body(0) ... body(pieces - 1), each once, in any order, on at most `threads` threads, of
// which the caller is one; returns when all have returned.
//
// The threads are our own, shared by all callers, started when first needed and kept. A caller
// never waits for a busy worker: it does the work itself. After fork() the child starts threads of
// its own. (torch's OpenMP threads are faster when they have just been used, but hang in a forked
// child, and to wake them where they sleep took 5 ms on a virtual machine.)
//
// Call without the GIL when the work is long: no worker touches Python.
void run_pieces(std::int64_t pieces, int threads, PieceBody body);

// As many threads as torch would use on this thread: torch.get_num_threads().
[[nodiscard]] int default_threads();

}  // namespace tensorlift
