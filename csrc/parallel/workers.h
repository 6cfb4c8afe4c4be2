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
// The threads are torch's while those are awake (torch_team.h), else our own: shared by all
// callers, started when first needed and kept; a caller never waits for a busy one: it does the
// work itself. After fork() the child starts threads of its own.
//
// Call without the GIL when the work is long: no thread touches Python.
void run_pieces(std::int64_t pieces, int threads, PieceBody body);

// As many threads as torch would use on this thread: torch.get_num_threads().
[[nodiscard]] int default_threads();

}  // namespace tensorlift
