// Place: where in a sample a value stands, as the steps that lead to it. A chain on the stack of
// whoever walks: nothing is allocated unless the place is asked for, which is for an error or an
// option.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "binding/python_api.h"

namespace tensorlift {

struct Place {
  enum class Step : std::uint8_t { kKey, kIndex, kAttribute };

  const Place* parent;  // nullptr: a sample itself is the parent
  Step step;
  PyObject* key;     // kKey: borrowed; kAttribute: the field's name, borrowed
  Py_ssize_t index;  // kIndex

  [[nodiscard]] static Place of_key(const Place* parent, PyObject* key) {
    return {parent, Step::kKey, key, 0};
  }
  [[nodiscard]] static Place of_index(const Place* parent, std::size_t index) {
    return {parent, Step::kIndex, nullptr, static_cast<Py_ssize_t>(index)};
  }
  [[nodiscard]] static Place of_attribute(const Place* parent, PyObject* name) {
    return {parent, Step::kAttribute, name, 0};
  }
};

// samples[5]["image"][0].x: where the value of a sample stands; nullptr is the sample itself. GIL
// held, here and below.
[[nodiscard]] std::string place_text(std::size_t sample, const Place* place);
// out["image"][0].x, for what is named `root`.
[[nodiscard]] std::string place_text(const std::string& root, const Place* place);

// The steps from the sample inwards, as tensorlift._data.tree has them: keys, indices, and
// Attributes.
[[nodiscard]] py::tuple path_of(const Place* place);

}  // namespace tensorlift
