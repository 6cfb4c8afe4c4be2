// The exceptions of the core. The binding layer translates TypeError, ValueError, IndexError and
// RuntimeError to Python's own, InternalError (a bug of ours, never the user's) to a RuntimeError.
#pragma once

#include <stdexcept>

namespace tensorlift {

struct TypeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct ValueError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What does not make one batch. In Python these are RuntimeErrors as well, which torch raises.
struct BatchTypeError : TypeError {
  using TypeError::TypeError;
};
struct BatchValueError : ValueError {
  using ValueError::ValueError;
};

// Not an error yet: torch's own functions may know how to join this tensor.
struct ForTorch : TypeError {
  using TypeError::TypeError;
};

struct IndexError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct RuntimeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct InternalError : std::logic_error {
  using std::logic_error::logic_error;
};

}  // namespace tensorlift
