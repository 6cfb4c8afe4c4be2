#include "rearrange.h"

#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "errors.h"
#include "simd.h"

namespace tensorlift {
namespace {

struct Item16 {
  std::uint64_t low, high;
};

inline std::uint8_t swap_bytes(std::uint8_t value) { return value; }
inline std::uint16_t swap_bytes(std::uint16_t value) { return __builtin_bswap16(value); }
inline std::uint32_t swap_bytes(std::uint32_t value) { return __builtin_bswap32(value); }
inline std::uint64_t swap_bytes(std::uint64_t value) { return __builtin_bswap64(value); }
inline Item16 swap_bytes(Item16 value) { return {swap_bytes(value.high), swap_bytes(value.low)}; }

// The halves swapped whole and then exchanged back: a rotation by half the width.
inline std::uint8_t exchange_halves(std::uint8_t value) { return value; }
inline std::uint16_t exchange_halves(std::uint16_t value) { return std::rotl(value, 8); }
inline std::uint32_t exchange_halves(std::uint32_t value) { return std::rotl(value, 16); }
inline std::uint64_t exchange_halves(std::uint64_t value) { return std::rotl(value, 32); }
inline Item16 exchange_halves(Item16 value) { return {value.high, value.low}; }

template <typename Item, Swap kSwap>
inline void copy_item(const char* __restrict source, char* __restrict target) {
  Item item;
  std::memcpy(&item, source, sizeof(Item));  // a load that may be misaligned
  if constexpr (kSwap != Swap::kNone) item = swap_bytes(item);
  if constexpr (kSwap == Swap::kHalves) item = exchange_halves(item);
  std::memcpy(target, &item, sizeof(Item));
}

// With a constant stride the compiler uses vector instructions.
template <typename Item, Swap kSwap>
inline void copy_items(const char* __restrict source, std::int64_t stride, char* __restrict target,
                       std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    copy_item<Item, kSwap>(source + i * stride,
                           target + i * static_cast<std::int64_t>(sizeof(Item)));
  }
}

template <typename Item, Swap kSwap>
TENSORLIFT_SIMD void rearrange(const Rows& source, char* target) {
  constexpr auto kSize = static_cast<std::int64_t>(sizeof(Item));
  const std::int64_t stride = source.column_stride;
  const std::int64_t columns = source.columns;
  const char* row = source.first;
  for (std::int64_t r = 0; r < source.count; ++r) {
    if (stride == kSize) {
      if constexpr (kSwap == Swap::kNone) {
        std::memcpy(target, row, static_cast<std::size_t>(columns * kSize));
      } else {
        copy_items<Item, kSwap>(row, kSize, target, columns);
      }
    } else if (stride == -kSize) {
      copy_items<Item, kSwap>(row, -kSize, target, columns);
    } else {
      copy_items<Item, kSwap>(row, stride, target, columns);
    }
    row += source.row_stride;
    target += columns * kSize;
  }
}

template <Swap kSwap>
RearrangeFunction function_for(int itemsize) {
  switch (itemsize) {
    case 1:
      return &rearrange<std::uint8_t, kSwap>;
    case 2:
      return &rearrange<std::uint16_t, kSwap>;
    case 4:
      return &rearrange<std::uint32_t, kSwap>;
    case 8:
      return &rearrange<std::uint64_t, kSwap>;
    case 16:
      return &rearrange<Item16, kSwap>;
    default:
      throw InternalError("rearrange_function: itemsize is not 1, 2, 4, 8 or 16");
  }
}

}  // namespace

RearrangeFunction rearrange_function(int itemsize, Swap swap) {
  switch (swap) {
    case Swap::kNone:
      return function_for<Swap::kNone>(itemsize);
    case Swap::kWhole:
      return function_for<Swap::kWhole>(itemsize);
    case Swap::kHalves:
      return function_for<Swap::kHalves>(itemsize);
  }
  throw InternalError("rearrange_function: unknown swap");
}

}  // namespace tensorlift
