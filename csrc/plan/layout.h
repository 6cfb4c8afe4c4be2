// Layout: the shape of a batch, and where in it each array goes. Pure: knows shapes, not memory.
#pragma once

#include <c10/util/ArrayRef.h>
#include <c10/util/SmallVector.h>

#include <bitset>
#include <cstddef>
#include <cstdint>

#include "plan/array_view.h"
#include "plan/sources.h"

namespace tensorlift {

enum class Operation : std::uint8_t { kStack, kCat, kPad, kJagged };

// What holds for all dimensions of the arrays, or something for each.
template <typename T>
struct PerDimension {
  c10::SmallVector<T, 4> values;
  bool is_one = true;  // value, for all

  [[nodiscard]] T operator[](std::size_t dim) const { return values[is_one ? 0 : dim]; }
};

struct LayoutOptions {
  Operation operation = Operation::kStack;
  std::int64_t dim = 0;                                   // kStack, kCat: may be negative
  PerDimension<std::int64_t> pad_to_multiple_of = {{1}};  // kPad
  PerDimension<bool> pad_left = {{false}};                // kPad
};

struct Layout {
  Operation operation;
  int dim;           // kStack, kPad: the one that counts the arrays; else the one that they share
  Shape shape;       // of the batch
  bool has_padding;  // kPad: some array is smaller than its slot
  std::bitset<kMaxDims> pad_left = {};  // kPad: dimensions in which arrays end where slots do
};

// Throws ValueError (there are no arrays, or one's shape does not fit: it is named) or IndexError
// (`dim` is out of range).
[[nodiscard]] Layout plan_layout(const Sources& sources, const LayoutOptions& options);

// kPad: the first array that counts dimensions. One of shape (0,) among such of more dimensions has
// no elements, and the sizes of this one but for the first.
[[nodiscard]] const Sources::Signature& padding_model(const Sources& sources);

// The slots of a batch at `data` with these strides, in bytes, one after another.
class Slots {
 public:
  Slots(const Layout& layout, char* data, c10::IntArrayRef strides);

  // The slot of the next array: where its first element goes, and the strides of all.
  [[nodiscard]] char* next(const ArrayView& view) {
    slot_ = next_;
    if (layout_.operation == Operation::kStack) {
      next_ += step_;
      return slot_;
    }
    return next_of_many_sizes(view);
  }
  [[nodiscard]] const std::int64_t* strides() const { return strides_.data(); }

  // How many times all slots take turns while memory goes by: 1 where they follow each other.
  [[nodiscard]] std::int64_t rows() const;

  // kPad: calls fill(ndim, shape [ndim], data) for boxes with the strides of the slots which
  // together are all of the slot that next() gave last, but for `view`'s elements.
  template <typename Function>
  void for_each_padding(const ArrayView& view, Function fill) const {
    const int ndim = static_cast<int>(slot_shape_.size());
    std::int64_t box[kMaxDims];
    char* data = slot_;
    for (int d = 0; d < ndim; ++d) {
      const std::int64_t padding = slot_shape_[d] - view.shape[d];
      if (padding > 0) {
        box[d] = padding;
        for (int inner = d + 1; inner < ndim; ++inner) box[inner] = slot_shape_[inner];
        const bool is_left = layout_.pad_left[static_cast<std::size_t>(d)];
        fill(ndim, box, is_left ? data : data + view.shape[d] * strides_[d]);
        if (is_left) data += padding * strides_[d];
      }
      box[d] = view.shape[d];
      if (view.shape[d] == 0) return;  // all of it is padding; (0,) has no more dimensions
    }
  }

 private:
  char* next_of_many_sizes(const ArrayView& view);

  const Layout& layout_;
  char* slot_;  // kPad: of the array that came last, its padding included
  char* next_;
  std::int64_t step_;  // bytes along `dim`
  Shape strides_;      // of a slot, bytes
  Shape slot_shape_;   // kPad
};

}  // namespace tensorlift
