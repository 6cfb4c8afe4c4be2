#include "binding/warnings.h"

#include <algorithm>

namespace tensorlift {

void warn(const std::string& message) {
  // Level 2: the caller of the Python function that called us.
  if (PyErr_WarnEx(PyExc_UserWarning, message.c_str(), 2) < 0) throw py::error_already_set();
}

bool any_discards_imaginary(const Sources& sources, c10::ScalarType to) {
  const auto signatures = sources.signatures();
  return std::any_of(signatures.begin(), signatures.end(),
                     [to](const Sources::Signature& signature) {
                       return discards_imaginary(signature.element.dtype, to);
                     });
}

void warn_discarded_imaginary() {
  warn("Casting complex values to real discards the imaginary part");
}

}  // namespace tensorlift
