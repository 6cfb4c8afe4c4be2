// Gather: copies many source views into their slots, casting and swapping bytes on the way, in one
// pass over memory. Work is cut by bytes, not by array. Knows nothing of Python: call it without
// the GIL, as long as somebody keeps the sources' memory alive.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "array_view.h"
#include "cast.h"
#include "rearrange.h"

namespace tensorlift {

// The copies that one call has to make. Copies shape and strides out of the views, so that a job
// stays true whatever happens to the array object; the elements are read when run() is called.
class GatherJobs {
 public:
  // A job that writes view's `numel` elements, in C order, to `slot`: contiguous, aligned, not
  // overlapping any source. The view's element kind is not kUnsupported, and `dtype` is castable.
  void add(const ArrayView& view, std::int64_t numel, c10::ScalarType dtype, void* slot);

  [[nodiscard]] bool empty() const { return jobs_.empty(); }

  // Bytes read and written, whichever is more, summed over all jobs.
  [[nodiscard]] std::size_t nbytes() const { return end_bytes_.empty() ? 0 : end_bytes_.back(); }

  // Tells the threads of a run() that is to come soon, where there are enough bytes for them.
  // Cheap, so call it after every add(): while the rest of the list is planned they wake up.
  void announce(std::optional<int> threads) {
    if (!announced_ && nbytes() >= kAnnounceBytes) rouse(threads);
  }

  // Does the work, on at most `threads` threads (default: torch's), fewer where there is little.
  void run(std::optional<int> threads) const;

 private:
  struct Dim {
    std::int64_t size;
    std::int64_t stride;  // bytes
  };
  struct Job {
    const char* source;
    char* slot;
    std::int64_t numel;
    std::size_t first_dim;   // into dims_
    std::uint8_t ndim;       // at least 2
    std::uint8_t from_size;  // bytes an element, in the source
    std::uint8_t to_size;    // and in the slot
    bool castable_in_place;  // contiguous, aligned, native: no rearranging before a cast
    RearrangeFunction rearrange;
    CastFunction cast;  // nullptr: same dtype
  };
  class Reader;

  static constexpr std::size_t kAnnounceBytes = 1 << 20;

  void rouse(std::optional<int> threads);
  void copy_elements(const Job& job, std::int64_t begin, std::int64_t end) const;
  void copy_bytes(std::size_t begin, std::size_t end) const;

  std::vector<Job> jobs_;
  std::vector<std::size_t> end_bytes_;  // nbytes() after each job
  std::vector<Dim> dims_;               // of all jobs, outermost first, merged where they can be
  bool announced_ = false;
};

}  // namespace tensorlift
