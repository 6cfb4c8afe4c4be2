// Sources: the arrays of a batch, as data: an address each, and once for every run of arrays what
// these have in common. Pure; nothing is borrowed from Python any more.
#pragma once

#include <c10/util/ArrayRef.h>
#include <c10/util/SmallVector.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "plan/array_view.h"

namespace tensorlift {

class Sources {
 public:
  // What consecutive arrays have in common: all but their addresses.
  struct Signature {
    ElementType element;
    bool swapped;
    int ndim;
    std::int64_t numel;
    std::size_t layout;  // into layouts_: shape, strides
    std::size_t first;   // the index of the first array of this signature
  };

  [[nodiscard]] std::size_t size() const { return data_.size(); }
  void reserve(std::size_t arrays) { data_.reserve(arrays); }

  // Adds an array if it is like the one before it, which all checks have passed; else adds nothing
  // and returns false.
  [[nodiscard]] bool extend(const ArrayView& view) {
    if (signatures_.empty() || !is_like(signatures_.back(), view)) return false;
    data_.push_back(static_cast<char*>(view.data));
    return true;
  }

  // Adds an array that the caller knows to be like the one before it.
  void extend_by(char* data) { data_.push_back(data); }

  // The same for an array that is like the one before it but for its shape, and contiguous. (Such
  // an array has all of its elements in memory, so their number does not overflow.)
  [[nodiscard]] [[gnu::noinline]] bool extend_ragged(const ArrayView& view) {
    if (signatures_.empty() || !has_same_elements(signatures_.back(), view)) return false;
    if (!is_contiguous(view.ndim, view.shape, view.strides, view.element.itemsize)) return false;
    std::int64_t numel = 1;
    for (int d = 0; d < view.ndim; ++d) numel *= view.shape[d];
    if (numel == 0) return false;
    add_signature(view, numel);
    return true;
  }

  // Adds an array of `numel` elements.
  void add(const ArrayView& view, std::int64_t numel) {
    if (!extend(view)) add_signature(view, numel);
  }
  [[nodiscard]] char* data(std::size_t index) const { return data_[index]; }
  [[nodiscard]] c10::ArrayRef<Signature> signatures() const { return signatures_; }

  [[nodiscard]] const std::int64_t* shape(const Signature& signature) const {
    return layouts_.data() + signature.layout;
  }
  [[nodiscard]] Shape shape_copy(const Signature& signature) const {
    return {shape(signature), shape(signature) + signature.ndim};
  }

  // These arrays, in the order of their indices.
  [[nodiscard]] Sources in_order(c10::ArrayRef<std::int64_t> indices) const;

  // Leaves of the arrays of signatures()[signature] the elements [begin, begin + size) of a
  // dimension, if that is within all of them.
  void narrow(std::size_t signature, int dim, std::int64_t begin, std::int64_t size);

  // Calls function(signature, begin, end) with the signature of arrays [begin, end), in order.
  template <typename Function>
  void for_each_signature(Function function) const {
    for (std::size_t f = 0; f < signatures_.size(); ++f) {
      const std::size_t end = f + 1 < signatures_.size() ? signatures_[f + 1].first : data_.size();
      function(signatures_[f], signatures_[f].first, end);
    }
  }

  // The array at `index`, which has this signature. Borrows from this object.
  [[nodiscard]] ArrayView view(const Signature& signature, std::size_t index) const {
    ArrayView view;
    view.data = data_[index];
    view.shape = shape(signature);
    view.strides = shape(signature) + signature.ndim;
    view.ndim = signature.ndim;
    view.element = signature.element;
    view.source_kind = SourceKind::kArray;
    view.swapped = signature.swapped;
    return view;
  }

  // Calls function(view, numel) for every array, in order. The views borrow from this object.
  template <typename Function>
  void for_each(Function function) const {
    for_each_signature([&](const Signature& signature, std::size_t begin, std::size_t end) {
      ArrayView array = view(signature, begin);
      for (std::size_t i = begin; i < end; ++i) {
        array.data = data_[i];
        function(array, signature.numel);
      }
    });
  }

 private:
  [[gnu::noinline]] void add_signature(const ArrayView& view, std::int64_t numel) {
    // Written in place: a copy would wait for bytes that have just been written one by one.
    Signature& signature = signatures_.emplace_back();
    signature.element = view.element;
    signature.swapped = view.swapped;
    signature.ndim = view.ndim;
    signature.numel = numel;
    signature.layout = layouts_.size();
    signature.first = data_.size();
    layouts_.append(view.shape, view.shape + view.ndim);
    layouts_.append(view.strides, view.strides + view.ndim);
    data_.push_back(static_cast<char*>(view.data));
  }

  [[nodiscard]] static bool has_same_elements(const Signature& signature, const ArrayView& view) {
    return signature.element.dtype == view.element.dtype &&
           signature.element.kind == view.element.kind && signature.swapped == view.swapped;
  }

  [[nodiscard]] bool is_like(const Signature& signature, const ArrayView& view) const {
    if (!has_same_elements(signature, view) || signature.ndim != view.ndim) return false;
    // By hand: std::equal calls memcmp, which takes longer than a few comparisons.
    const std::int64_t* layout = layouts_.data() + signature.layout;
    bool same = true;
    for (int d = 0; d < view.ndim; ++d) {
      same &= view.shape[d] == layout[d] && view.strides[d] == layout[view.ndim + d];
    }
    return same;
  }

  std::vector<char*> data_;  // std::vector adds faster than SmallVector: one per array
  c10::SmallVector<Signature, 2> signatures_;
  c10::SmallVector<std::int64_t, 16> layouts_;
};

}  // namespace tensorlift
