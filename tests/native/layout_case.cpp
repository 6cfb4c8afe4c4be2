#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "../../csrc/errors.h"
#include "../../csrc/plan/layout.h"
#include "../../csrc/plan/sources.h"
#include "bytes.h"
#include "check.h"
#include "elements.h"
#include "plan_cases.h"
#include "wide.h"

namespace tensorlift::native {
namespace {

using Shapes = std::vector<Shape>;

// The batch's shape, or nothing where there is none.
using Result = std::optional<Shape>;

bool is_dim(std::int64_t dim, std::size_t ndim) {
  const auto limit = static_cast<std::int64_t>(ndim);
  return dim >= -limit && dim < limit;
}

std::size_t wrapped(std::int64_t dim, std::size_t ndim) {
  return static_cast<std::size_t>(dim < 0 ? dim + static_cast<std::int64_t>(ndim) : dim);
}

Result expected_stack(const Shapes& shapes, std::int64_t dim) {
  for (const Shape& shape : shapes) {
    if (shape != shapes[0]) return std::nullopt;
  }
  Shape result = shapes[0];
  if (!is_dim(dim, result.size() + 1)) return std::nullopt;
  const auto place = static_cast<std::ptrdiff_t>(wrapped(dim, result.size() + 1));
  result.insert(result.begin() + place, static_cast<std::int64_t>(shapes.size()));
  return result;
}

Result expected_cat(const Shapes& shapes, std::int64_t dim) {
  Shapes joined;
  for (const Shape& shape : shapes) {
    if (shape.empty()) return std::nullopt;
    if (shape != Shape{0}) joined.push_back(shape);
  }
  if (joined.empty()) return Shape{0};
  Shape result = joined[0];
  if (!is_dim(dim, result.size())) return std::nullopt;
  const std::size_t along = wrapped(dim, result.size());
  Wide length = 0;
  for (Shape& shape : joined) {
    if (shape.size() != result.size()) return std::nullopt;
    length += shape[along];
    result[along] = shape[along];
    if (shape != result) return std::nullopt;
  }
  if (!length.fits()) return std::nullopt;
  result[along] = 0;
  for (const Shape& shape : joined) result[along] += shape[along];
  return result;
}

Result expected_pad(Shapes shapes, const LayoutOptions& options) {
  const auto model = std::find_if(shapes.begin(), shapes.end(), [](const Shape& shape) {
    return !shape.empty() && shape != Shape{0};
  });
  if (model != shapes.end()) {  // (0,) beside it: as many dimensions, no rows
    const Shape like = *model;
    for (Shape& shape : shapes) {
      if (shape == Shape{0}) shape.insert(shape.end(), like.begin() + 1, like.end());
    }
  }
  Shape result = shapes[0];
  for (const Shape& shape : shapes) {
    if (shape.size() != result.size()) return std::nullopt;
    for (std::size_t d = 0; d < shape.size(); ++d) result[d] = std::max(result[d], shape[d]);
  }
  const auto fits = [&result](const auto& option) {
    return option.is_one || option.values.size() == result.size();
  };
  if (!fits(options.pad_to_multiple_of) || !fits(options.pad_left)) return std::nullopt;
  for (std::size_t d = 0; d < result.size(); ++d) {
    const std::int64_t multiple = options.pad_to_multiple_of[d];
    const std::int64_t over = result[d] % multiple;
    if (over == 0) continue;
    Wide rounded = result[d] - over;
    rounded += multiple;
    if (!rounded.fits()) return std::nullopt;
    result[d] = result[d] - over + multiple;
  }
  result.insert(result.begin(), static_cast<std::int64_t>(shapes.size()));
  return result;
}

Result expected_layout(const Shapes& shapes, const LayoutOptions& options) {
  if (shapes.empty()) return std::nullopt;
  switch (options.operation) {
    case Operation::kStack:
      return expected_stack(shapes, options.dim);
    case Operation::kCat:
    case Operation::kJagged:
      return expected_cat(shapes, options.dim);
    case Operation::kPad:
      return expected_pad(shapes, options);
  }
  return std::nullopt;
}

Result actual_layout(const Sources& sources, const LayoutOptions& options) {
  try {
    return plan_layout(sources, options).shape;
  } catch (const ValueError&) {
    return std::nullopt;
  } catch (const IndexError&) {
    return std::nullopt;
  }
}

std::int64_t make_dim_size(Bytes& bytes) {
  return bytes.once_in(4) ? make_size(bytes) : bytes.below(4);
}

Shapes make_shapes(Bytes& bytes) {
  Shapes shapes;
  const std::int64_t count = bytes.below(6);
  for (std::int64_t i = 0; i < count; ++i) {
    Shape shape;
    if (i > 0 && !bytes.once_in(8)) {
      shape = shapes.back();
      if (!shape.empty() && bytes.flag()) {
        shape[static_cast<std::size_t>(bytes.below(static_cast<std::int64_t>(shape.size())))] =
            make_dim_size(bytes);
      }
    } else {
      const std::int64_t ndim = bytes.once_in(8) ? bytes.below(kMaxDims + 1) : bytes.below(4);
      for (std::int64_t d = 0; d < ndim; ++d) shape.push_back(make_dim_size(bytes));
    }
    shapes.push_back(shape);
  }
  return shapes;
}

LayoutOptions make_options(Bytes& bytes) {
  LayoutOptions options;
  options.operation =
      bytes.one_of({Operation::kStack, Operation::kCat, Operation::kPad, Operation::kJagged});
  options.dim = options.operation == Operation::kJagged ? 0
                : bytes.once_in(16)                     ? make_number(bytes)
                                                        : bytes.below(8) - 4;
  PerDimension<std::int64_t>& multiple = options.pad_to_multiple_of;
  multiple = {{}, bytes.flag()};
  const std::int64_t multiples = multiple.is_one ? 1 : bytes.below(4);
  for (std::int64_t i = 0; i < multiples; ++i) {
    multiple.values.push_back(std::max<std::int64_t>(make_dim_size(bytes), 1));
  }
  if (bytes.once_in(8)) options.pad_left = {{bytes.flag(), bytes.flag()}, false};
  return options;
}

}  // namespace

void run_layout_case(Bytes& bytes) {
  const LayoutOptions options = make_options(bytes);
  const Shapes shapes = make_shapes(bytes);
  Sources sources;
  for (const Shape& shape : shapes) {
    ArrayView view;
    view.shape = shape.data();
    view.strides = shape.data();  // any: a layout knows shapes alone
    view.ndim = static_cast<int>(shape.size());
    view.element = element_type(c10::kFloat);
    sources.add(view, 0);
  }
  check(actual_layout(sources, options) == expected_layout(shapes, options),
        "the batch has torch's shape, or is refused");
}

}  // namespace tensorlift::native
