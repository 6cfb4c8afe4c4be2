#include "ops/convert_tree.h"

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "binding/recursion.h"
#include "binding/torch_objects.h"
#include "input/collate_function.h"
#include "input/numpy_scalar.h"
#include "input/samples.h"
#include "ops/result_tree.h"

namespace tensorlift {
namespace {

using Node = ResultNode;

// What default_convert leaves alone.
bool is_of_text_or_objects(PyObject* array) {
  const char kind = PyArray_DESCR(reinterpret_cast<PyArrayObject*>(array))->kind;
  return kind == 'S' || kind == 'U' || kind == 'O' || kind == 'T';
}

bool is_never_converted(PyObject* value) {
  return PyLong_CheckExact(value) || PyFloat_CheckExact(value) || PyUnicode_CheckExact(value) ||
         PyBytes_CheckExact(value) || PyBool_Check(value) || value == Py_None ||
         is_exact_tensor(value);
}

class Reader {
 public:
  Node read(PyObject* value);

  // Was there something of another type? Then what was read means nothing.
  [[nodiscard]] bool is_stopped() const { return is_stopped_; }
  [[nodiscard]] const py::list& arrays() const { return arrays_; }

 private:
  Node read_container(PyObject* value);
  Node with_children(Node&& node, const Children& children);

  py::list arrays_;
  bool is_stopped_ = false;
};

Node Reader::read(PyObject* value) {
  if (is_stopped_) return Node(Node::Kind::kDone);
  const bool is_array = PyArray_CheckExact(value);
  if (is_array ? !is_of_text_or_objects(value) : scalar_type_of(value) != nullptr) {
    Node node(Node::Kind::kTensor);
    node.tensor = arrays_.size();
    arrays_.append(py::handle(value));
    return node;
  }
  if (is_array || is_never_converted(value)) {
    return Node(Node::Kind::kDone, py::reinterpret_borrow<py::object>(value));
  }
  const RecursionGuard guard(" while a tree is converted");
  return read_container(value);
}

Node Reader::read_container(PyObject* value) {
  if (PyDict_CheckExact(value)) {
    const std::vector<py::object> keys = keys_of(value);
    Node node(Node::Kind::kDict);
    py::tuple names(keys.size());
    for (std::size_t k = 0; k < keys.size(); ++k) names[k] = keys[k];
    node.keys = std::move(names);
    return with_children(std::move(node), read_mappings(value, keys, nullptr));
  }
  if (PyList_CheckExact(value) || PyTuple_CheckExact(value)) {  // torch makes lists of tuples
    const Values values = values_of(value);
    Node node(Node::Kind::kList);
    node.children.reserve(values.at(0).size());
    for (PyObject* element : values.at(0)) node.children.push_back(read(element));
    return node;
  }
  const CollateFunction how = CollateFunctions::of(py::none())->find(value);
  if (how.joining == Joining::kNamedTuple) {
    return with_children(Node(Node::Kind::kCall, py::type::of(value)),
                         read_named_tuples(value, nullptr));
  }
  if (how.joining == Joining::kRecord) {
    Node node(Node::Kind::kMake, import_module("tensorlift._data.tree").attr("with_fields"));
    node.model = py::reinterpret_borrow<py::object>(value);
    node.keys = how.fields;
    return with_children(std::move(node), read_records(value, how.fields, nullptr));
  }
  is_stopped_ = true;
  return Node(Node::Kind::kDone);
}

Node Reader::with_children(Node&& node, const Children& children) {
  node.children.reserve(children.count);
  for (std::size_t k = 0; k < children.count; ++k) {
    node.children.push_back(read(children.values.at(k)[0]));
  }
  return std::move(node);
}

}  // namespace

py::object convert_tree(py::handle tree, const ConvertOptions& options, const Placement& placement,
                        std::optional<int> threads) {
  Reader reader;
  const Node node = reader.read(tree.ptr());
  if (reader.is_stopped()) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
  if (reader.arrays().empty()) return build_result(node, [](const Node&) { return py::none(); });
  const py::list tensors(from_numpy(reader.arrays(), options, placement, threads));
  return build_result(node, [&](const Node& leaf) { return py::object(tensors[leaf.tensor]); });
}

}  // namespace tensorlift
