#include "input/place.h"

#include <algorithm>
#include <vector>

namespace tensorlift {
namespace {

std::vector<const Place*> steps_to(const Place* place) {
  std::vector<const Place*> steps;
  for (; place != nullptr; place = place->parent) steps.push_back(place);
  std::reverse(steps.begin(), steps.end());
  return steps;
}

std::string key_text(py::handle key) {
  if (!PyUnicode_CheckExact(key.ptr())) return py::repr(key).cast<std::string>();
  return "\"" + key.cast<std::string>() + "\"";
}

}  // namespace

std::string place_text(std::size_t sample, const Place* place) {
  return place_text("samples[" + std::to_string(sample) + "]", place);
}

std::string place_text(const std::string& root, const Place* place) {
  std::string text = root;
  // Not "[" + text: GCC 12 warns of its own string::insert there (its bug 105651).
  for (const Place* step : steps_to(place)) {
    switch (step->step) {
      case Place::Step::kKey:
        text.append("[").append(key_text(step->key)).append("]");
        break;
      case Place::Step::kIndex:
        text.append("[").append(std::to_string(step->index)).append("]");
        break;
      case Place::Step::kAttribute:
        text.append(".").append(py::str(py::handle(step->key)).cast<std::string>());
        break;
    }
  }
  return text;
}

py::tuple path_of(const Place* place) {
  const std::vector<const Place*> steps = steps_to(place);
  py::tuple path(steps.size());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    switch (steps[i]->step) {
      case Place::Step::kKey:
        path[i] = py::handle(steps[i]->key);
        break;
      case Place::Step::kIndex:
        path[i] = steps[i]->index;
        break;
      case Place::Step::kAttribute:
        path[i] =
            import_module("tensorlift._data.tree").attr("Attribute")(py::handle(steps[i]->key));
        break;
    }
  }
  return path;
}

}  // namespace tensorlift
