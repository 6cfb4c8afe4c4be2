// Which function of a collate_fn_map a value belongs to, and how we do what torch's own functions
// do.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "binding/free_threading.h"
#include "binding/python_api.h"

namespace tensorlift {

// How the values of one place are joined.
enum class Joining : std::uint8_t {
  kTensors,   // torch.stack
  kArrays,    // the same, each being torch.as_tensor(array)
  kScalars,   // torch.as_tensor(batch)
  kFloats,    // torch.tensor(batch, dtype=torch.float64)
  kIntegers,  // torch.tensor(batch)
  kText,      // the batch as it is
  kFunction,  // by a function of the user's
  kProtocol,  // by the type's own __collate__(samples)
  kDict,      // exactly a dict
  kList,      // exactly a list
  kTuple,     // exactly a tuple
  kNamedTuple,
  kRecord,  // a dataclass, a class of attrs or a model of pydantic
  kOther,   // perhaps a container of another type: Python decides
};

struct CollateFunction {
  Joining joining;
  py::object function;  // of the map; null for containers and kOther
  py::tuple fields;     // kNamedTuple, kRecord: their names
};

// A collate_fn_map, and what follows from it for each type that was met: found out once a type.
// GIL held throughout.
class CollateFunctions {
 public:
  // For a dict with these items, as they are now, or None. Kept for the next call with an equal
  // one.
  [[nodiscard]] static std::shared_ptr<CollateFunctions> of(py::handle fn_map);

  // By torch's rule: by the exact type, else the first of which `value` is an instance. Throws
  // py::error_already_set. Any number of threads may ask at once.
  [[nodiscard]] CollateFunction find(PyObject* value);

  explicit CollateFunctions(py::handle fn_map);

 private:
  struct Known {
    py::object type;
    CollateFunction function;
  };

  [[nodiscard]] bool is_of(py::handle fn_map) const;
  [[nodiscard]] CollateFunction look_up(PyObject* value, bool& may_be_kept) const;
  [[nodiscard]] CollateFunction with(const py::object& function) const;

  std::vector<std::pair<py::object, py::object>> items_;
  bool has_plain_keys_ = true;     // isinstance() follows from a value's type alone
  bool has_torchs_stack_ = false;  // torch.Tensor maps to torch's own function
  StateMutex mutex_;
  std::unordered_map<PyTypeObject*, Known> known_;  // guarded by it
};

}  // namespace tensorlift
