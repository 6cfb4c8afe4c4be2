#include "ops/collate.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "binding/exceptions.h"
#include "binding/made_once.h"
#include "binding/options.h"
#include "binding/recursion.h"
#include "binding/torch_modes.h"
#include "binding/torch_objects.h"
#include "errors.h"
#include "input/collate_function.h"
#include "input/elements.h"
#include "input/numbers.h"
#include "input/place.h"
#include "input/samples.h"
#include "input/values.h"
#include "memory/build.h"
#include "ops/collate_out.h"
#include "ops/result_tree.h"

namespace tensorlift {
namespace {

// The functions of tensorlift._data.collate that the walk leaves strange things to.
struct PythonSide {
  PythonSide() {
    const py::object module = import_module("tensorlift._data.collate");
    const auto get = [&module](const char* name) {
      return module.attr(name).cast<py::object>().release();
    };
    open_container = get("open_container");
    by_torch = get("by_torch");
    with_place = get("with_place");
    with_fields = get("with_fields");
    as_list = get("as_list");
    padded = get("padded");
    jagged = get("Jagged");
  }
  py::handle open_container, by_torch, with_place, with_fields;
  py::handle as_list, padded, jagged;
};

const PythonSide& python_side() { return made_once<PythonSide>(); }

// The values of one place. To functions torch gives those of a mapping's key as a list, those of a
// sequence's element as a tuple.
struct Batch {
  c10::ArrayRef<PyObject*> values;
  bool is_tuple;
  py::handle object;  // the list or tuple, where it is there already

  [[nodiscard]] py::object as_object() const {
    if (object) return py::reinterpret_borrow<py::object>(object);
    const auto size = static_cast<Py_ssize_t>(values.size());
    auto made = py::reinterpret_steal<py::object>(is_tuple ? PyTuple_New(size) : PyList_New(size));
    if (!made) throw py::error_already_set();
    PyObject** items = is_tuple ? reinterpret_cast<PyTupleObject*>(made.ptr())->ob_item
                                : reinterpret_cast<PyListObject*>(made.ptr())->ob_item;
    for (PyObject* value : values) {
      Py_INCREF(value);
      *items++ = value;
    }
    return made;
  }
};

// Borrowed, of a list or a tuple that nobody else has.
PyObject* item_of(py::handle sequence, std::size_t index) {
  return PySequence_Fast_GET_ITEM(sequence.ptr(), static_cast<Py_ssize_t>(index));
}

py::object as_exception(PyObject* type, const char* message) {
  return py::reinterpret_borrow<py::object>(type)(message);
}

[[noreturn]] void raise(const py::object& exception) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw py::error_already_set();
}

using Node = ResultNode;

Node done(py::object result) { return Node(Node::Kind::kDone, std::move(result)); }

py::object result_of(const Column& column) {
  const py::object result = column.result();
  if (!column.sizes.defined()) return result;
  const bool is_pad = column.plan.layout.operation == Operation::kPad;
  return (is_pad ? python_side().padded : python_side().jagged)(*result);
}

[[noreturn]] void refuse_mask_without_mapping(const Node& column, const std::string& got,
                                              const Place* place) {
  throw ValueError(place_text(0, place) + ": expected a mapping to put the mask " +
                   repr_of(column.beside_key) + " into, got " + got +
                   ". Use Pad(mask=True): the mask is a part of the Padded then.");
}

[[noreturn]] void refuse_mask_key(const Node& column, const Place* place) {
  const std::string key = repr_of(column.beside_key);
  throw ValueError(place_text(0, place) + ": expected no key " + key + ", because Pad(mask=" + key +
                   ") puts a mask there, got one. Leave mask= out and name " + key +
                   " in Collate(pad=) as well, or give the mask another key.");
}

class Walk {
 public:
  Walk(const CollateOptions& options, const std::shared_ptr<CollateFunctions>& functions)
      : options_(options),
        functions_(functions),
        is_filled_at_once_(options.target.memory == ColumnsMemory::kOwn && !options.target.device &&
                           options.out.is_none()),
        is_torch_asked_(is_torch_asked()) {}

  py::object collate(const Batch& samples) {
    Node tree = read(samples, nullptr);
    if (tree.beside) refuse_mask_without_mapping(tree, "the padded place itself", nullptr);
    if (!options_.check.is_none()) options_.check();
    if (!options_.out.is_none()) {
      warn_if_discarding(columns_);  // not between the checks of `out` and the writing
      const ColumnsTarget& target = options_.target;
      const c10::Device device = target.device ? target.device->device : c10::Device(c10::kCPU);
      bind_out(tree, options_.out, device, columns_, held_batches_);
    }
    if (!columns_.empty()) join(columns_, options_.target);
    return build_result(tree, [this](const Node& node) {
      const Column& column = *columns_[node.tensor];
      return node.kind == Node::Kind::kMask ? wrap_tensor(column.mask) : result_of(column);
    });
  }

 private:
  // Each reads the values of a place, and of all places below it.
  Node read(const Batch& batch, const Place* place);
  Node read_present(const Batch& batch, const Place* place);
  Node read_all(const Batch& batch, const Place* place);
  Node read_values(const Batch& batch, const Place* place);
  Node read_dicts(const Batch& batch, const Place* place);
  Node read_lists(const Batch& batch, const Place* place);
  Node read_others(const Batch& batch, const Place* place);
  template <typename PlaceOf>
  Node read_children(Node&& node, Children&& children, bool are_tuples, PlaceOf place_of);

  Node read_arrays(const Batch& batch, const CollateFunction& how, const Place* place);
  Node read_numbers(const Batch& batch, const CollateFunction& how, const Place* place);
  Node read_column(const Batch& batch, const CollateFunction& how, const py::object& options,
                   const Place* place);
  Node add(std::unique_ptr<Column> column);
  static void put_beside(Node& mapping, std::size_t child, const Batch& batch, const Place* place);

  Node by_torch(const Batch& batch, const CollateFunction& how, const py::object& refusal,
                const Place* place, const py::object& options = py::none()) const;
  [[nodiscard]] py::object options_at(const Place* place, const char* kind) const;

  const CollateOptions& options_;
  const std::shared_ptr<CollateFunctions>& functions_;
  const bool is_filled_at_once_;  // each column, while what it was read from is in the caches
  const bool is_torch_asked_;
  Columns columns_;           // that are filled together
  std::vector<Values> held_;  // what they were read from
  std::vector<py::object> held_batches_;
};

Node Walk::read(const Batch& batch, const Place* place) {
  if (!options_.options_for.is_none()) {
    const bool any_none = std::any_of(batch.values.begin(), batch.values.end(),
                                      [](PyObject* value) { return value == Py_None; });
    if (any_none) {
      const py::object how = options_at(place, "none");
      if (how.equal(py::str("list"))) return done(py::list(batch.as_object()));
      if (how.equal(py::str("drop"))) return read_present(batch, place);
    }
  }
  return read_all(batch, place);
}

// The values that are not None, which may be none at all.
Node Walk::read_present(const Batch& batch, const Place* place) {
  const auto count = static_cast<std::size_t>(std::count_if(
      batch.values.begin(), batch.values.end(), [](PyObject* value) { return value != Py_None; }));
  if (count == 0) return done(py::none());
  Values present(1, count);
  std::size_t i = 0;
  for (PyObject* value : batch.values) {
    if (value != Py_None) present.set(0, i++, value);
  }
  Node node = read_all({present.at(0), batch.is_tuple, {}}, place);
  held_.push_back(std::move(present));
  return node;
}

Node Walk::read_all(const Batch& batch, const Place* place) {
  Node node = read_values(batch, place);
  for (std::size_t k = 0, count = node.children.size(); k < count; ++k) {
    if (node.children[k].beside) put_beside(node, k, batch, place);
  }
  return node;
}

Node Walk::read_values(const Batch& batch, const Place* place) {
  const RecursionGuard guard(" while samples are collated");
  const CollateFunction how = functions_->find(batch.values[0]);
  switch (how.joining) {
    case Joining::kTensors:
    case Joining::kArrays:
      return read_arrays(batch, how, place);
    case Joining::kScalars:
    case Joining::kFloats:
    case Joining::kIntegers:
      return read_numbers(batch, how, place);
    case Joining::kText:
      return done(batch.as_object());
    case Joining::kFunction:
      return done(how.function(batch.as_object(), py::arg("collate_fn_map") = options_.fn_map));
    case Joining::kProtocol:
      return done(how.function(batch.as_object()));
    case Joining::kDict:
      return read_dicts(batch, place);
    case Joining::kList:
    case Joining::kTuple:
      return read_lists(batch, place);
    case Joining::kNamedTuple: {
      Node node(Node::Kind::kCall, py::type::of(batch.values[0]));
      Children children = read_named_tuples(batch.values, place);
      children.count = std::min(children.count, how.fields.size());
      return read_children(
          std::move(node), std::move(children), /*are_tuples=*/true,
          [&](std::size_t k) { return Place::of_attribute(place, item_of(how.fields, k)); });
    }
    case Joining::kRecord: {
      Node node(Node::Kind::kMake, py::reinterpret_borrow<py::object>(python_side().with_fields));
      node.model = py::reinterpret_borrow<py::object>(batch.values[0]);
      node.keys = how.fields;
      node.are_fields = true;
      return read_children(std::move(node), read_records(batch.values, how.fields, place),
                           /*are_tuples=*/false, [&](std::size_t k) {
                             return Place::of_attribute(place, item_of(how.fields, k));
                           });
    }
    case Joining::kOther:
      break;
  }
  return read_others(batch, place);
}

template <typename PlaceOf>
Node Walk::read_children(Node&& node, Children&& children, bool are_tuples, PlaceOf place_of) {
  node.children.reserve(children.count);
  for (std::size_t k = 0; k < children.count; ++k) {
    const Place place = place_of(k);
    node.children.push_back(read({children.values.at(k), are_tuples, {}}, &place));
  }
  if (!columns_.empty()) held_.push_back(std::move(children.values));
  return std::move(node);
}

Node Walk::read_dicts(const Batch& batch, const Place* place) {
  std::vector<py::object> keys = keys_of(batch.values[0]);
  Node node = read_children(Node(Node::Kind::kDict), read_mappings(batch.values, keys, place),
                            /*are_tuples=*/false,
                            [&](std::size_t k) { return Place::of_key(place, keys[k].ptr()); });
  node.keys = py::tuple(keys.size());
  for (std::size_t k = 0; k < keys.size(); ++k) {
    PyTuple_SET_ITEM(node.keys.ptr(), static_cast<Py_ssize_t>(k), keys[k].release().ptr());
  }
  return node;
}

Node Walk::read_lists(const Batch& batch, const Place* place) {
  const py::object options = options_at(place, "list");
  if (!options.is_none()) {  // numbers that are to be padded, say
    const CollateFunction none{Joining::kArrays, py::object(), py::tuple()};
    return read_column(batch, none, options, place);
  }
  return read_children(Node(Node::Kind::kList), read_sequences(batch.values, place),
                       /*are_tuples=*/true,
                       [place](std::size_t k) { return Place::of_index(place, k); });
}

// Mappings and sequences of any type; Python makes a list or a tuple of what stands in each place.
Node Walk::read_others(const Batch& batch, const Place* place) {
  const auto opened = py::reinterpret_steal<py::tuple>(
      python_side().open_container(batch.as_object(), path_of(place)).release());
  Node node(Node::Kind::kMake, opened[0]);
  node.model = opened[1];
  if (!opened[2].is_none()) node.keys = opened[2];
  const py::list columns = opened[3];
  held_batches_.push_back(columns);
  for (std::size_t k = 0; k < columns.size(); ++k) {
    const py::handle column(item_of(columns, k));  // functions of the user's may get it, too
    held_.push_back(values_of(column.ptr()));
    const Place child =
        node.keys ? Place::of_key(place, item_of(node.keys, k)) : Place::of_index(place, k);
    node.children.push_back(read({held_.back().at(0), /*is_tuple=*/false, column}, &child));
  }
  return node;
}

Node Walk::read_arrays(const Batch& batch, const CollateFunction& how, const Place* place) {
  const py::object options = options_at(place, "array");
  const bool is_for_torch =
      is_torch_asked_ ||
      (how.joining == Joining::kTensors && !std::all_of(batch.values.begin(), batch.values.end(),
                                                        [](PyObject* v) { return is_tensor(v); }));
  const bool is_stack = options.is_none() ||
                        parse_column_options(options).batch.layout.operation == Operation::kStack;
  if (is_for_torch && is_stack) return by_torch(batch, how, py::none(), place, options);
  return read_column(batch, how, options, place);
}

Node Walk::read_column(const Batch& batch, const CollateFunction& how, const py::object& options,
                       const Place* place) {
  py::object refusal;
  std::unique_ptr<Column> column;
  try {
    column = std::make_unique<Column>(batch.values, parse_column_options(options));
  } catch (const ForTorch& error) {
    const bool has_words = error.what()[0] != '\0';
    return by_torch(
        batch, how,
        has_words ? as_exception(batch_errors().type_error, error.what()) : py::object(py::none()),
        place, options);
  } catch (const TypeError& error) {
    refusal = as_exception(batch_errors().type_error, error.what());
  } catch (const ValueError& error) {
    refusal = as_exception(batch_errors().value_error, error.what());
  } catch (const IndexError& error) {
    refusal = as_exception(PyExc_IndexError, error.what());
  } catch (const c10::Error&) {  // torch's own, of a tensor that is strange, or of memory
    if (!options.is_none()) throw;
    return by_torch(batch, how, py::none(), place);
  }
  if (column != nullptr) return add(std::move(column));
  if (options.is_none()) return by_torch(batch, how, refusal, place);
  raise(python_side().with_place(refusal, path_of(place)));  // torch does not know the option
}

Node Walk::read_numbers(const Batch& batch, const CollateFunction& how, const Place* place) {
  const auto dtype = how.joining == Joining::kFloats     ? std::optional(c10::kDouble)
                     : how.joining == Joining::kIntegers ? integer_dtype(batch.values)
                                                         : scalar_dtype(batch.values);
  const py::object options = options_at(place, how.joining == Joining::kFloats     ? "float"
                                               : how.joining == Joining::kIntegers ? "integer"
                                                                                   : "array");
  if (!options.is_none() && how.joining == Joining::kScalars) {
    return read_column(batch, how, options, place);
  }
  if (!dtype || is_torch_asked_) return by_torch(batch, how, py::none(), place, options);
  const auto write = [&](void* elements) {
    if (how.joining == Joining::kFloats) {
      return write_floats(batch.values, static_cast<double*>(elements));
    }
    if (how.joining == Joining::kIntegers) return write_integers(batch.values, *dtype, elements);
    write_scalars(batch.values, elements);
    return true;
  };
  const std::size_t nbytes = batch.values.size() * c10::elementSize(*dtype);
  if (is_filled_at_once_ && options.is_none()) {
    TensorArena arena(1);
    const at::Tensor tensor =
        build_empty(arena, nbytes, *dtype, {static_cast<std::int64_t>(batch.values.size())});
    if (!write(tensor.mutable_data_ptr())) return by_torch(batch, how, py::none(), place);
    return done(wrap_tensor(tensor));
  }
  std::vector<char> elements(nbytes);
  if (!write(elements.data())) return by_torch(batch, how, py::none(), place, options);
  return add(std::make_unique<Column>(std::move(elements), *dtype,
                                      parse_column_options(options).batch.dtype));
}

Node Walk::add(std::unique_ptr<Column> column) {
  const py::object mask_key = column->mask_key;
  columns_.push_back(std::move(column));
  Node node(Node::Kind::kTensor);
  Node mask(Node::Kind::kMask);
  node.tensor = mask.tensor = columns_.size() - 1;
  if (is_filled_at_once_) {
    join(columns_, options_.target);
    node = done(result_of(*columns_.back()));
    if (mask_key) mask = done(wrap_tensor(columns_.back()->mask));
    columns_.clear();
  }
  if (mask_key) {
    node.beside_key = mask_key;
    node.beside = std::make_unique<Node>(std::move(mask));
  }
  return node;
}

// Puts what stands beside a child of a mapping under its key.
void Walk::put_beside(Node& mapping, std::size_t child, const Batch& batch, const Place* place) {
  const Node& column = mapping.children[child];
  const bool is_mapping = mapping.keys && !mapping.are_fields;
  if (!is_mapping) {
    refuse_mask_without_mapping(column, Py_TYPE(batch.values[0])->tp_name, place);
  }
  const int is_there = PySequence_Contains(mapping.keys.ptr(), column.beside_key.ptr());
  if (is_there < 0) throw py::error_already_set();
  if (is_there > 0) refuse_mask_key(column, place);
  mapping.keys = mapping.keys + py::make_tuple(column.beside_key);
  mapping.children.push_back(std::move(*mapping.children[child].beside));
}

// What torch makes of values that we do not read, or its error with our words, and the place.
Node Walk::by_torch(const Batch& batch, const CollateFunction& how, const py::object& refusal,
                    const Place* place, const py::object& options) const {
  const py::object function = how.function ? how.function : py::none();
  return done(python_side().by_torch(batch.as_object(), function, options_.fn_map, refusal,
                                     path_of(place), options));
}

// `kind`: "array", "float", "integer", "list" or "none", which not all options are for.
py::object Walk::options_at(const Place* place, const char* kind) const {
  if (options_.options_for.is_none()) return py::none();
  return options_.options_for(path_of(place), kind);
}

}  // namespace

py::object collate(py::handle samples, const CollateOptions& options) {
  const py::object sequence = is_list(samples.ptr()) ? py::reinterpret_borrow<py::object>(samples)
                                                     : python_side().as_list(samples);
  const std::shared_ptr<CollateFunctions> functions = CollateFunctions::of(options.fn_map);
  if (PySequence_Fast_GET_SIZE(sequence.ptr()) > 0) {
    const HeldItem item(sequence.ptr(), 0);
    const auto first = py::reinterpret_borrow<py::object>(item.get());
    if (first && functions->find(first.ptr()).joining == Joining::kText && options.out.is_none()) {
      return py::reinterpret_borrow<py::object>(samples);
    }
  }
  const Values values = values_of(sequence.ptr());  // find() may have run Python code
  if (values.at(0).empty()) {
    PyErr_SetString(PyExc_IndexError, "samples: expected at least one sample, got none.");
    throw py::error_already_set();
  }
  return Walk(options, functions).collate({values.at(0), /*is_tuple=*/false, samples});
}

}  // namespace tensorlift
