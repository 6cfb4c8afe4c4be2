// A tree of results that is built when all its tensors are there.
#pragma once

#include <c10/util/FunctionRef.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "binding/python_api.h"

namespace tensorlift {

// One result, or what it is made of.
struct ResultNode {
  enum class Kind : std::uint8_t {
    kDone,    // `object`
    kTensor,  // the one of number `tensor`
    kMask,    // that of this tensor
    kDict,    // of `keys` and the children
    kList,    // of the children
    kCall,    // object(*children)
    kMake,    // object(model, children): a list of those, or with `keys` a dict
  };

  explicit ResultNode(Kind of_kind, py::object what = {})
      : kind(of_kind), object(std::move(what)) {}

  Kind kind;
  py::object object;
  py::object model;
  py::object keys;          // a tuple, or null
  bool are_fields = false;  // of a dataclass: the keys
  std::vector<ResultNode> children;
  std::size_t tensor = 0;
  py::object beside_key;               // of something that stands beside this in its mapping
  std::unique_ptr<ResultNode> beside;  // and what it is; or null
};

// GIL held.
[[nodiscard]] py::object build_result(const ResultNode& node,
                                      c10::function_ref<py::object(const ResultNode&)> tensor);

}  // namespace tensorlift
