#include "plan/packed_bytes.h"

#include <algorithm>

namespace tensorlift {

std::size_t PackedBytes::part_bytes() const {
  if (rows > 1) return nbytes / static_cast<std::size_t>(rows);
  return cut_points.empty() ? kSlotAlignment : nbytes / cut_points.size();
}

std::size_t PackedBytes::chunk_end(std::size_t begin, std::size_t limit) const {
  const std::size_t part = part_bytes();
  const std::size_t parts = std::max<std::size_t>(limit / part, 1);
  return nbytes - begin > parts * part ? begin + parts * part : nbytes;
}

void PackedBytes::write(std::size_t begin, std::size_t end, char* memory,
                        std::optional<int> threads, std::size_t bytes_per_thread) const {
  const std::ptrdiff_t shift = memory - at(begin);
  if (rows > 1) {
    const std::size_t row = part_bytes();
    jobs.run_rows(static_cast<std::int64_t>(begin / row), static_cast<std::int64_t>(end / row),
                  rows, shift, threads, bytes_per_thread);
    return;
  }
  const auto work_before = [this](std::size_t offset) {
    if (cut_points.empty()) return jobs.work_before(at(offset));
    const std::size_t parts = offset / part_bytes();
    return parts == 0 ? 0 : cut_points[parts - 1];
  };
  jobs.run_part(work_before(begin), end == nbytes ? jobs.nbytes() : work_before(end), shift,
                threads, bytes_per_thread);
}

}  // namespace tensorlift
