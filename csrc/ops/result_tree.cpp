#include "ops/result_tree.h"

namespace tensorlift {

py::object build_result(const ResultNode& node,
                        c10::function_ref<py::object(const ResultNode&)> tensor) {
  if (node.kind == ResultNode::Kind::kDone) return node.object;
  const bool is_tensor =
      node.kind == ResultNode::Kind::kTensor || node.kind == ResultNode::Kind::kMask;
  if (is_tensor) return tensor(node);
  const bool is_dict = static_cast<bool>(node.keys);
  const bool is_tuple = node.kind == ResultNode::Kind::kCall;
  const auto size = static_cast<Py_ssize_t>(node.children.size());
  auto made = py::reinterpret_steal<py::object>(is_dict    ? PyDict_New()
                                                : is_tuple ? PyTuple_New(size)
                                                           : PyList_New(size));
  if (!made) throw py::error_already_set();
  for (Py_ssize_t k = 0; k < size; ++k) {
    py::object child = build_result(node.children[static_cast<std::size_t>(k)], tensor);
    if (is_dict) {
      if (PyDict_SetItem(made.ptr(), PyTuple_GET_ITEM(node.keys.ptr(), k), child.ptr()) != 0) {
        throw py::error_already_set();
      }
    } else if (is_tuple) {
      PyTuple_SET_ITEM(made.ptr(), k, child.release().ptr());
    } else {
      PyList_SET_ITEM(made.ptr(), k, child.release().ptr());
    }
  }
  if (node.kind == ResultNode::Kind::kMake) return node.object(node.model, made);
  if (is_tuple) return node.object(*made);
  return made;
}

}  // namespace tensorlift
