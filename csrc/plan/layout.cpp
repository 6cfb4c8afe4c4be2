#include "plan/layout.h"

#include <limits>
#include <string>

#include "errors.h"
#include "text.h"

namespace tensorlift {
namespace {

std::string array_name(std::size_t index) { return "arrays[" + std::to_string(index) + "]"; }

// torch's rule: counted from the end where negative.
int wrapped(std::int64_t dim, int ndim) {
  if (dim < -ndim || dim >= ndim) {
    throw IndexError("dim: expected a number from " + std::to_string(-ndim) + " to " +
                     std::to_string(ndim - 1) + ", got " + std::to_string(dim) + ".");
  }
  return static_cast<int>(dim < 0 ? dim + ndim : dim);
}

Layout stack_layout(const Sources& sources, const LayoutOptions& options) {
  const Shape first = sources.shape_copy(sources.signatures()[0]);
  Layout layout{Operation::kStack, wrapped(options.dim, static_cast<int>(first.size()) + 1), first,
                false};
  for (const auto& signature : sources.signatures()) {
    if (sources.shape_copy(signature) == first) continue;
    throw ValueError(
        array_name(signature.first) + ": expected shape " + shape_text(first) +
        " like arrays[0], got " + shape_text(sources.shape_copy(signature)) +
        (static_cast<std::size_t>(signature.ndim) == first.size()
             ? ". Use pad() or jagged() for a batch of different shapes, or cat() to join them: "
             : ". Give them one number of dimensions first: ") +
        "only arrays of equal size can be stacked.");  // MONAI looks for torch's "equal size"
  }
  layout.shape.insert(layout.shape.begin() + layout.dim, static_cast<std::int64_t>(sources.size()));
  return layout;
}

// An array of shape (0,), whatever the shapes of the others: torch.cat passes over it, and "no
// boxes" often comes as such.
bool is_passed_over(const Sources& sources, const Sources::Signature& signature) {
  return signature.ndim == 1 && sources.shape(signature)[0] == 0;
}

// "(*, 3)": what the shapes must have in common.
std::string shape_but(Shape shape, int dim) {
  std::string text = "(";
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (d > 0) text += ", ";
    text += static_cast<int>(d) == dim ? "*" : std::to_string(shape[d]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

Layout cat_layout(const Sources& sources, const LayoutOptions& options) {
  const bool is_jagged = options.operation == Operation::kJagged;
  const Sources::Signature* model = nullptr;  // the first one that counts
  for (const auto& signature : sources.signatures()) {
    if (signature.ndim == 0) {
      throw ValueError(array_name(signature.first) +
                       ": expected at least 1 dimension, got a 0-d array. Use stack().");
    }
    if (model == nullptr && !is_passed_over(sources, signature)) model = &signature;
  }
  if (model == nullptr) return {options.operation, 0, Shape{0}, false};
  Layout layout{options.operation, wrapped(options.dim, model->ndim), sources.shape_copy(*model),
                false};
  const auto dim = static_cast<std::size_t>(layout.dim);
  const Shape like = layout.shape;
  std::int64_t length = 0;
  sources.for_each_signature(
      [&](const Sources::Signature& signature, std::size_t begin, std::size_t end) {
        if (is_passed_over(sources, signature)) return;
        const std::int64_t* shape = sources.shape(signature);
        bool fits = static_cast<std::size_t>(signature.ndim) == like.size();
        for (std::size_t d = 0; fits && d < like.size(); ++d)
          fits = d == dim || shape[d] == like[d];
        if (!fits) {
          throw ValueError(array_name(signature.first) + ": expected shape " +
                           shape_but(like, layout.dim) + " like " + array_name(model->first) +
                           ", got " + shape_text(sources.shape_copy(signature)) +
                           ". Only dimension " + std::to_string(layout.dim) + " may differ" +
                           (is_jagged ? ": use pad() for more." : "."));
        }
        std::int64_t joined = 0;
        if (__builtin_mul_overflow(shape[dim], static_cast<std::int64_t>(end - begin), &joined) ||
            __builtin_add_overflow(length, joined, &length)) {
          throw ValueError("arrays: expected a batch within 64 bits, got a larger one.");
        }
      });
  layout.shape[dim] = length;
  return layout;
}

template <typename T>
void check_count(const PerDimension<T>& option, const char* name, const char* one,
                 std::size_t ndim) {
  if (option.is_one || option.values.size() == ndim) return;
  throw ValueError(std::string(name) + ": expected " + one + ", or one for each of the " +
                   std::to_string(ndim) + " dimensions, got " +
                   std::to_string(option.values.size()) + " of them.");
}

Layout pad_layout(const Sources& sources, const LayoutOptions& options) {
  const Sources::Signature& model = padding_model(sources);
  Shape largest = sources.shape_copy(model);
  bool has_padding = false;
  for (const auto& signature : sources.signatures()) {
    if (is_passed_over(sources, signature) && signature.ndim <= model.ndim) {
      has_padding = true;
      continue;
    }
    if (signature.ndim != model.ndim) {
      throw ValueError(array_name(signature.first) + ": expected a " + std::to_string(model.ndim) +
                       "-D array like " + array_name(model.first) + ", got shape " +
                       shape_text(sources.shape_copy(signature)) +
                       ". Give them one number of dimensions first.");
    }
    for (std::size_t d = 0; d < largest.size(); ++d) {
      const std::int64_t size = sources.shape(signature)[d];
      has_padding |= size != largest[d];
      largest[d] = std::max(largest[d], size);
    }
  }
  check_count(options.pad_to_multiple_of, "pad_to_multiple_of", "an int", largest.size());
  check_count(options.pad_left, "padding_side", "\"right\" or \"left\"", largest.size());
  std::bitset<kMaxDims> pad_left;
  for (std::size_t d = 0; d < largest.size(); ++d) {
    pad_left[d] = options.pad_left[d];
    const std::int64_t multiple = options.pad_to_multiple_of[d];
    const std::int64_t over = largest[d] % multiple;
    if (over == 0) continue;
    has_padding = true;
    if (__builtin_add_overflow(largest[d], multiple - over, &largest[d])) {
      throw ValueError("pad_to_multiple_of: expected a batch within 64 bits, got a larger one.");
    }
  }
  largest.insert(largest.begin(), static_cast<std::int64_t>(sources.size()));
  return {Operation::kPad, 0, largest, has_padding, pad_left};
}

}  // namespace

const Sources::Signature& padding_model(const Sources& sources) {
  for (const auto& signature : sources.signatures()) {
    if (signature.ndim > 0 && !is_passed_over(sources, signature)) return signature;
  }
  return sources.signatures()[0];
}

Layout plan_layout(const Sources& sources, const LayoutOptions& options) {
  if (sources.size() == 0) {
    throw ValueError("arrays: expected at least one array, got an empty list.");
  }
  switch (options.operation) {
    case Operation::kStack:
      return stack_layout(sources, options);
    case Operation::kCat:
    case Operation::kJagged:
      return cat_layout(sources, options);
    case Operation::kPad:
      return pad_layout(sources, options);
  }
  throw InternalError("plan_layout: unknown operation");
}

Slots::Slots(const Layout& layout, char* data, c10::IntArrayRef strides)
    : layout_(layout),
      slot_(data),
      next_(data),
      step_(strides[static_cast<std::size_t>(layout.dim)]),
      strides_(strides.begin(), strides.end()) {
  const bool has_own_dim =
      layout.operation == Operation::kStack || layout.operation == Operation::kPad;
  if (has_own_dim) strides_.erase(strides_.begin() + layout.dim);
  if (layout.operation == Operation::kPad) {
    slot_shape_.assign(layout.shape.begin() + 1, layout.shape.end());
  }
}

char* Slots::next_of_many_sizes(const ArrayView& view) {
  if (layout_.operation != Operation::kPad) {
    // A 1-D array without elements that is passed over moves nothing either.
    next_ += (layout_.dim < view.ndim ? view.shape[layout_.dim] : 0) * step_;
    return slot_;
  }
  next_ += step_;
  char* first = slot_;
  for (int d = 0; d < view.ndim; ++d) {
    const auto dim = static_cast<std::size_t>(d);
    if (!layout_.pad_left[dim]) continue;
    first += (slot_shape_[dim] - view.shape[d]) * strides_[dim];
  }
  return first;
}

std::int64_t Slots::rows() const {
  const bool joins = layout_.operation != Operation::kPad;
  std::int64_t rows = 1;
  for (int d = 0; joins && d < layout_.dim; ++d) rows *= layout_.shape[static_cast<std::size_t>(d)];
  return rows;
}

}  // namespace tensorlift
