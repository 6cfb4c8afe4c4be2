#include "plan/promote.h"

#include <c10/util/Exception.h>

#include <string>

#include "errors.h"
#include "text.h"

namespace tensorlift {

c10::ScalarType promoted_dtype(const Sources& sources) {
  c10::ScalarType dtype = sources.signatures()[0].element.dtype;
  for (const auto& signature : sources.signatures()) {
    const c10::ScalarType other = signature.element.dtype;
    if (other == dtype) continue;
    try {
      dtype = c10::promoteTypes(dtype, other);
    } catch (const c10::Error&) {
      throw TypeError("arrays[" + std::to_string(signature.first) +
                      "]: expected a dtype that torch promotes together with " + dtype_text(dtype) +
                      " of the arrays before it, got " + dtype_text(other) + ". Pass dtype=.");
    }
  }
  return dtype;
}

}  // namespace tensorlift
