#include "binding/warnings.h"

#include <algorithm>

namespace tensorlift {

void warn(const std::string& message) {
  // Level 2: the caller of the Python function that called us.
  if (PyErr_WarnEx(PyExc_UserWarning, message.c_str(), 2) < 0) throw py::error_already_set();
}

bool any_discards_imaginary(const Sources& sources, c10::ScalarType to) {
  const auto forms = sources.forms();
  return std::any_of(forms.begin(), forms.end(), [to](const Sources::Form& form) {
    return discards_imaginary(form.element.twin, to);
  });
}

void warn_discarded_imaginary() {
  warn("Casting complex values to real discards the imaginary part");
}

}  // namespace tensorlift
