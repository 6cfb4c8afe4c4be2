// ElementCopy: how the elements of an array get to its slot: they are read in the order in which
// they lie there, their bytes swapped, cast or normalised, and written. Arrays that are alike share
// one. Knows nothing of Python, threads, or what is copied when.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/SmallVector.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "copy/cast.h"
#include "copy/non_temporal.h"
#include "copy/normalization.h"
#include "copy/strided.h"
#include "copy/strided_copy.h"
#include "plan/array_view.h"

namespace tensorlift {

struct ElementCopy {
  // What tells one from another. With `is_run` sources are single runs of equidistant elements, of
  // any length, and their slots are contiguous; else all have shape and strides in common.
  struct Key {
    c10::ScalarType from, to;
    bool swapped;
    bool source_aligned, slot_aligned;
    bool is_run;
    std::int64_t run_stride;  // bytes; 0 unless is_run
    const Normalization* normalization = nullptr;

    bool operator==(const Key&) const = default;
  };

  // How many bytes an element has, before or after, whichever is more: a power of 2.
  [[nodiscard]] std::size_t widest() const { return std::size_t{1} << widest_bits; }
  // How many elements are in so many bytes of them.
  [[nodiscard]] std::int64_t elements_in(std::size_t nbytes) const {
    return static_cast<std::int64_t>(nbytes >> widest_bits);
  }

  Key key;
  // Not for a run; places in the vectors of ElementCopies:
  int ndim;
  std::size_t layout;                 // shape, strides, slot strides
  std::size_t read_dims, write_dims;  // dimensions to walk
  std::uint8_t read_dim_count, write_dim_count;
  bool reads_in_place;              // contiguous, in native byte order
  bool writes_in_place;             // contiguous and aligned
  bool normalizes_rows;             // as they are read: uint8, in rows that are long enough
  std::uint8_t from_size, to_size;  // bytes an element
  std::uint8_t widest_bits;
  StridedCopyFunction read;
  ScatterFunction write;
  CastFunction cast;         // nullptr: the numbers stay as they are
  std::int64_t channel_run;  // of a normalised array: elements of one channel side by side
};

// Those that one call needs.
class ElementCopies {
 public:
  // The index of one for this array and slot, as GatherJobs::add() has them. Slots of one have the
  // alignment of the first in common, as do sources.
  [[nodiscard]] std::uint32_t find(const ArrayView& view, c10::ScalarType dtype, const void* slot,
                                   const std::int64_t* slot_strides,
                                   const Normalization* normalization);

  // One that writes the number at `source` again and again.
  [[nodiscard]] std::uint32_t find_repeated(const void* source, c10::ScalarType dtype,
                                            const void* slot);

  // One for an array with the shape, strides and dtypes that this one is for.
  [[nodiscard]] std::uint32_t find_like(std::uint32_t index, const void* source, const void* slot) {
    const ElementCopy& copy = copies_[index];
    const bool is_like_it = is_multiple(source, copy.from_size) == copy.key.source_aligned &&
                            is_multiple(slot, copy.to_size) == copy.key.slot_aligned;
    return is_like_it ? index : realigned(index, source, slot);
  }

  [[nodiscard]] const ElementCopy& operator[](std::uint32_t index) const { return copies_[index]; }

  // How many of the `numel` elements of an array lie below `offset` bytes from the beginning of its
  // slot. Where the slot's strides lie one within another.
  [[nodiscard]] std::int64_t elements_before(const ElementCopy& copy, std::int64_t numel,
                                             std::ptrdiff_t offset) const;

  // Copies elements [begin, end) of the `numel` of an array; `is_non_temporal`: plain ones past the
  // caches, see non_temporal.h.
  void run(const ElementCopy& copy, const char* source, char* slot, std::int64_t numel,
           std::int64_t begin, std::int64_t end, bool is_non_temporal) const {
    if (begin >= end) return;
    const bool is_plain = copy.cast == nullptr && copy.reads_in_place && copy.writes_in_place;
    if (!is_plain) return rearrange(copy, source, slot, numel, begin, end);
    const auto nbytes = static_cast<std::size_t>((end - begin) * copy.to_size);
    source += begin * copy.from_size;
    slot += begin * copy.to_size;
    if (is_non_temporal) return non_temporal_copy(slot, source, nbytes);
    std::memcpy(slot, source, nbytes);
  }

  // Forgets all, keeps the memory.
  void clear();

 private:
  // `size` is a power of 2.
  static bool is_multiple(const void* address, std::size_t size) {
    return (reinterpret_cast<std::uintptr_t>(address) & (size - 1)) == 0;
  }

  [[nodiscard]] std::size_t oldest_to_try() const;
  [[nodiscard]] bool has_shape(const ElementCopy& copy, const ArrayView& view,
                               const std::int64_t* slot_strides) const;
  std::uint32_t find_run(const ElementCopy::Key& key);
  std::uint32_t realigned(std::uint32_t index, const void* source, const void* slot);
  std::uint32_t add(const ElementCopy::Key& key);
  std::uint32_t add_strided(const ElementCopy::Key& key, const ArrayView& view,
                            const std::int64_t* slot_strides);
  void normalize_rows(const ElementCopy& copy, const char* source, char* slot, std::int64_t begin,
                      std::int64_t end) const;
  void rearrange(const ElementCopy& copy, const char* source, char* slot, std::int64_t numel,
                 std::int64_t begin, std::int64_t end) const;
  void rearrange_in_blocks(const ElementCopy& copy, const char* source, char* slot,
                           std::int64_t numel, std::int64_t begin, std::int64_t end) const;

  c10::SmallVector<ElementCopy, 2> copies_;
  c10::SmallVector<std::int64_t, 16> layouts_;
  c10::SmallVector<Dim, 8> dims_;
};

}  // namespace tensorlift
