// Sources: the arrays of a batch, as data: an address each, and once for every run of arrays what
// these have in common. Pure; nothing is borrowed from Python any more.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "array_view.h"

namespace tensorlift {

class Sources {
 public:
  // What consecutive arrays have in common: all but their addresses.
  struct Form {
    ElementType element;
    bool swapped;
    int ndim;
    std::int64_t numel;
    std::size_t extents;  // into extents_: shape, strides
    std::size_t first;    // the index of the first array of this form
  };

  [[nodiscard]] std::size_t size() const { return data_.size(); }
  void reserve(std::size_t arrays) { data_.reserve(arrays); }

  // Adds an array if it is like the one before it, which all checks have passed; else adds nothing
  // and returns false.
  [[nodiscard]] bool extend(const ArrayView& view) {
    if (forms_.empty() || !is_like(forms_.back(), view)) return false;
    data_.push_back(static_cast<char*>(view.data));
    return true;
  }

  // Adds an array of `numel` elements.
  void add(const ArrayView& view, std::int64_t numel) {
    if (extend(view)) return;
    forms_.push_back({view.element, view.swapped, view.ndim, numel, extents_.size(), data_.size()});
    extents_.insert(extents_.end(), view.shape, view.shape + view.ndim);
    extents_.insert(extents_.end(), view.strides, view.strides + view.ndim);
    data_.push_back(static_cast<char*>(view.data));
  }

  [[nodiscard]] const std::vector<Form>& forms() const { return forms_; }

  [[nodiscard]] const std::int64_t* shape(const Form& form) const {
    return extents_.data() + form.extents;
  }
  [[nodiscard]] Shape shape_copy(const Form& form) const {
    return {shape(form), shape(form) + form.ndim};
  }

  // Calls function(form, begin, end) with the form of arrays [begin, end), in order.
  template <typename Function>
  void for_each_form(Function function) const {
    for (std::size_t f = 0; f < forms_.size(); ++f) {
      const std::size_t end = f + 1 < forms_.size() ? forms_[f + 1].first : data_.size();
      function(forms_[f], forms_[f].first, end);
    }
  }

  // Calls function(view, numel) for every array, in order. The views borrow from this object.
  template <typename Function>
  void for_each(Function function) const {
    for_each_form([&](const Form& form, std::size_t begin, std::size_t end) {
      ArrayView view;
      view.shape = shape(form);
      view.strides = shape(form) + form.ndim;
      view.ndim = form.ndim;
      view.element = form.element;
      view.holder = Holder::kArray;
      view.swapped = form.swapped;
      for (std::size_t i = begin; i < end; ++i) {
        view.data = data_[i];
        function(view, form.numel);
      }
    });
  }

 private:
  [[nodiscard]] bool is_like(const Form& form, const ArrayView& view) const {
    if (form.element.twin != view.element.twin || form.element.kind != view.element.kind ||
        form.swapped != view.swapped || form.ndim != view.ndim) {
      return false;
    }
    const std::int64_t* extents = extents_.data() + form.extents;
    return std::equal(view.shape, view.shape + view.ndim, extents) &&
           std::equal(view.strides, view.strides + view.ndim, extents + view.ndim);
  }

  std::vector<char*> data_;
  std::vector<Form> forms_;
  std::vector<std::int64_t> extents_;
};

}  // namespace tensorlift
