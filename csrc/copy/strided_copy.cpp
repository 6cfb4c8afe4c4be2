#include "copy/strided_copy.h"

#include <bit>
#include <cstring>

#include "copy/simd.h"
#include "errors.h"

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

// Rows of a few columns that lie far apart: the pixels of an image whose channels are planes.
template <typename Item, Swap kSwap, int kColumns>
inline void copy_narrow_rows(const Rows& source, char* __restrict target) {
  for (std::int64_t r = 0; r < source.count; ++r) {
    const char* row = source.first + r * source.row_stride;
    for (int c = 0; c < kColumns; ++c) {
      copy_item<Item, kSwap>(row + c * source.column_stride, target + c * sizeof(Item));
    }
    target += kColumns * sizeof(Item);
  }
}

// The same item again and again: padding, and broadcast dimensions. 0 mostly, which is memset's.
template <typename Item, Swap kSwap>
inline void repeat_item(const char* source, char* __restrict target, std::int64_t count) {
  constexpr auto kSize = static_cast<std::int64_t>(sizeof(Item));
  if (count == 0) return;
  copy_item<Item, kSwap>(source, target);
  const bool is_one_byte = std::memcmp(target, target + 1, sizeof(Item) - 1) == 0;
  if (is_one_byte) {
    std::memset(target, target[0], static_cast<std::size_t>(count * kSize));
    return;
  }
  Item item;
  std::memcpy(&item, target, sizeof(Item));
  for (std::int64_t i = 1; i < count; ++i) std::memcpy(target + i * kSize, &item, sizeof(Item));
}

template <typename Item, Swap kSwap>
inline void copy_row(const char* __restrict row, std::int64_t stride, char* __restrict target,
                     std::int64_t columns) {
  constexpr auto kSize = static_cast<std::int64_t>(sizeof(Item));
  if (stride == kSize) {
    if constexpr (kSwap == Swap::kNone) {
      std::memcpy(target, row, static_cast<std::size_t>(columns * kSize));
    } else {
      copy_items<Item, kSwap>(row, kSize, target, columns);
    }
  } else if (stride == -kSize) {
    copy_items<Item, kSwap>(row, -kSize, target, columns);
  } else if (stride == 3 * kSize) {  // a channel of pixels
    copy_items<Item, kSwap>(row, 3 * kSize, target, columns);
  } else if (stride == 4 * kSize) {
    copy_items<Item, kSwap>(row, 4 * kSize, target, columns);
  } else if (stride == 0) {
    repeat_item<Item, kSwap>(row, target, columns);
  } else {
    copy_items<Item, kSwap>(row, stride, target, columns);
  }
}

template <typename Item, Swap kSwap>
TENSORLIFT_SIMD void rearrange(const Rows& source, char* target) {
  if (source.count > 1) {
    if (source.columns == 2) return copy_narrow_rows<Item, kSwap, 2>(source, target);
    if (source.columns == 3) return copy_narrow_rows<Item, kSwap, 3>(source, target);
    if (source.columns == 4) return copy_narrow_rows<Item, kSwap, 4>(source, target);
  }
  const char* row = source.first;
  for (std::int64_t r = 0; r < source.count; ++r) {
    copy_row<Item, kSwap>(row, source.column_stride, target, source.columns);
    row += source.row_stride;
    target += source.columns * static_cast<std::int64_t>(sizeof(Item));
  }
}

template <typename Item>
TENSORLIFT_SIMD void scatter(const char* __restrict source, const Rows& target) {
  constexpr auto kSize = static_cast<std::int64_t>(sizeof(Item));
  char* __restrict row = target.first;
  for (std::int64_t r = 0; r < target.count; ++r) {
    if (target.column_stride == kSize) {
      std::memcpy(row, source, static_cast<std::size_t>(target.columns * kSize));
    } else {
      for (std::int64_t c = 0; c < target.columns; ++c) {
        copy_item<Item, Swap::kNone>(source + c * kSize, row + c * target.column_stride);
      }
    }
    row += target.row_stride;
    source += target.columns * kSize;
  }
}

// Calls function(Item()) with the type that has `itemsize` bytes.
template <typename Function>
auto with_item(int itemsize, Function function) {
  switch (itemsize) {
    case 1:
      return function(std::uint8_t());
    case 2:
      return function(std::uint16_t());
    case 4:
      return function(std::uint32_t());
    case 8:
      return function(std::uint64_t());
    case 16:
      return function(Item16());
    default:
      throw InternalError("rearrange: itemsize is not 1, 2, 4, 8 or 16");
  }
}

template <Swap kSwap>
StridedCopyFunction function_for(int itemsize) {
  return with_item(
      itemsize, [](auto item) -> StridedCopyFunction { return &rearrange<decltype(item), kSwap>; });
}

}  // namespace

StridedCopyFunction strided_copy_function(int itemsize, Swap swap) {
  switch (swap) {
    case Swap::kNone:
      return function_for<Swap::kNone>(itemsize);
    case Swap::kWhole:
      return function_for<Swap::kWhole>(itemsize);
    case Swap::kHalves:
      return function_for<Swap::kHalves>(itemsize);
  }
  throw InternalError("strided_copy_function: unknown swap");
}

ScatterFunction scatter_function(int itemsize) {
  return with_item(itemsize, [](auto item) -> ScatterFunction { return &scatter<decltype(item)>; });
}

}  // namespace tensorlift
