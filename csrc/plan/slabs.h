// Slabs: where the tensors of a list lie on a device: side by side in one piece of memory, large
// ones alone. Pure: counts bytes, touches none.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "plan/sources.h"

namespace tensorlift {

enum class Packing {
  kSlabs,  // small tensors side by side
  kAlone,  // each in memory of its own
};

// From so many bytes on a tensor has a slab of its own in any case.
inline constexpr std::size_t kOwnSlabFrom = std::size_t{1} << 20;

// Tensors that are packed the same way. What is cast while it is copied, or not at all, is packed
// as it will be: all dtypes together, as bytes (kByte, kByte). What is cast after it was packed is
// packed by pairs of dtypes, so that one cast does for all.
struct Slab {
  c10::ScalarType packed, dtype;
  bool is_own;             // of a single tensor
  std::size_t nbytes = 0;  // as packed
};

struct Slabs {
  // Where the arrays of a signature lie: all in `slab`, `step` bytes apart; or, if that is their
  // own, each in the slab after that of the one before.
  struct Place {
    std::size_t slab;
    std::size_t offset;  // of the first one, in bytes as packed
    std::size_t step;
    c10::ScalarType packed, dtype;
  };

  std::vector<Slab> slabs;    // those for many first
  std::vector<Place> places;  // for each signature of the sources

  // Calls function(signature, place, index, slab, offset in bytes as packed) for every array, slab
  // by slab.
  template <typename Function>
  void for_each_in_order(const Sources& sources, Function function) const {
    for (std::size_t s = 0; s < slabs.size() && !slabs[s].is_own; ++s) {
      for_each(sources, [&](const auto& signature, const Place& place, std::size_t index,
                            std::size_t slab, std::size_t offset) {
        if (slab == s) function(signature, place, index, slab, offset);
      });
    }
    for_each(sources, [&](const auto& signature, const Place& place, std::size_t index,
                          std::size_t slab, std::size_t offset) {
      if (slabs[slab].is_own) function(signature, place, index, slab, offset);
    });
  }

  // The same in the order of the sources.
  template <typename Function>
  void for_each(const Sources& sources, Function function) const {
    auto place = places.begin();
    sources.for_each_signature(
        [&](const Sources::Signature& signature, std::size_t begin, std::size_t end) {
          const bool is_own = slabs[place->slab].is_own;
          for (std::size_t i = begin; i < end; ++i) {
            const std::size_t k = i - begin;
            function(signature, *place, i, is_own ? place->slab + k : place->slab,
                     is_own ? 0 : place->offset + k * place->step);
          }
          ++place;
        });
  }
};

// Widening casts that save much are left to the device. Throws ValueError: more than 64 bits of
// bytes.
[[nodiscard]] Slabs plan_slabs(const Sources& sources, std::optional<c10::ScalarType> dtype,
                               Packing packing);

// Is this cast better done after the elements have been sent: fewer bytes to send, and the same
// numbers on every device?
[[nodiscard]] bool is_for_the_device(c10::ScalarType from, c10::ScalarType to);

// Bytes that a cast on the device has to save: a guess at what its launch costs, not measured yet.
inline constexpr std::size_t kCastOnDeviceFrom = 64 << 10;

}  // namespace tensorlift
