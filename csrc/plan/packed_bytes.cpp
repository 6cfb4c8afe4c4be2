#include "plan/packed_bytes.h"

#include <algorithm>

namespace tensorlift {

std::size_t PackedBytes::part_bytes() const {
  if (rows > 1) return nbytes / static_cast<std::size_t>(rows);
  return cut_points.empty() ? kSlotAlignment : nbytes / cut_points.size();
}

std::size_t PackedBytes::work_before_part(std::size_t part) const {
  return part == 0 ? 0 : cut_points[part - 1];
}

std::size_t PackedBytes::chunk_end(std::size_t begin, std::size_t room, std::size_t limit) const {
  const std::size_t part = part_bytes();
  if (part > limit) {  // within parts
    const std::size_t steps = std::max<std::size_t>(room / kSlotAlignment, 1);
    return std::min(begin + steps * kSlotAlignment, nbytes);
  }
  const std::size_t parts = std::max<std::size_t>(room / part, 1);
  return nbytes - begin > parts * part ? begin + parts * part : nbytes;
}

void PackedBytes::write_within_parts(std::size_t begin, std::size_t end, std::ptrdiff_t shift,
                                     std::optional<int> threads,
                                     std::size_t bytes_per_thread) const {
  const std::size_t part = part_bytes();
  const std::size_t first = begin / part, last = (end - 1) / part;
  if (rows == 1) {
    return jobs.run_addresses(work_before_part(first), work_before_part(last + 1), at(begin),
                              at(end), shift, threads, bytes_per_thread);
  }
  for (std::size_t row = first; row <= last; ++row) {
    jobs.run_part_of_row(at(0), at(row * part), at(std::max(begin, row * part)),
                         at(std::min(end, (row + 1) * part)), shift, threads, bytes_per_thread);
  }
}

void PackedBytes::write(std::size_t begin, std::size_t end, char* memory,
                        std::optional<int> threads, std::size_t bytes_per_thread) const {
  const std::ptrdiff_t shift = memory - at(begin);
  const std::size_t part = part_bytes();
  const bool has_parts = rows > 1 || !cut_points.empty();
  if (has_parts && end - begin < part) {
    return write_within_parts(begin, end, shift, threads, bytes_per_thread);
  }
  if (rows > 1) {
    jobs.run_rows(static_cast<std::int64_t>(begin / part), static_cast<std::int64_t>(end / part),
                  rows, shift, threads, bytes_per_thread);
    return;
  }
  const auto work_before = [this, part](std::size_t offset) {
    if (cut_points.empty()) return jobs.work_before(at(offset));
    return work_before_part(offset / part);
  };
  jobs.run_part(work_before(begin), end == nbytes ? jobs.nbytes() : work_before(end), shift,
                threads, bytes_per_thread);
}

}  // namespace tensorlift
