#include "ops/collate_out.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "binding/options.h"
#include "binding/torch_objects.h"
#include "copy/cast.h"
#include "errors.h"
#include "input/place.h"
#include "input/tensor_input.h"
#include "memory/host_memory.h"
#include "memory/output.h"
#include "text.h"

namespace tensorlift {
namespace {

using Kind = ResultNode::Kind;

[[noreturn]] void refuse(const Place* place, const std::string& expected, const std::string& got,
                         const std::string& remedy = "") {
  throw ValueError(place_text("out", place) + ": expected " + expected + ", got " + got + "." +
                   remedy);
}

[[noreturn]] void refuse_kind(const Place* place, const std::string& expected, py::handle got) {
  throw TypeError(place_text("out", place) + ": expected " + expected + ", got " +
                  Py_TYPE(got.ptr())->tp_name + ". Pass a tree like that of the batch.");
}

std::string rows_text(c10::IntArrayRef shape) {
  return std::to_string(shape[0]) + " rows or more of shape " + shape_text(shape.slice(1));
}

// What a tensor of the batch needs of the one that it is written to.
struct Wanted {
  enum class Cast : std::uint8_t { kNone, kCollate, kMask };  // the option for another dtype

  c10::IntArrayRef shape;
  c10::ScalarType dtype;
  Cast cast;
  const Place* named;  // what that option names
  bool is_padded;
};

std::string cast_remedy(const Wanted& wanted, c10::ScalarType dtype) {
  if (wanted.cast == Wanted::Cast::kNone || !is_castable(dtype)) return "";
  if (wanted.cast == Wanted::Cast::kMask) return " Use Pad(mask=" + dtype_text(dtype) + ").";
  const py::object name =
      import_module("tensorlift._data.tree").attr("place_name")(path_of(wanted.named));
  return " Use tensorlift.Collate(dtype={" + name.cast<std::string>() + ": " + dtype_text(dtype) +
         "}) to cast to it.";
}

// A column of one tensor. `held` gets it.
std::unique_ptr<Column> alone(const py::handle& tensor, std::vector<py::object>& held) {
  const py::tuple one = py::make_tuple(tensor);
  held.push_back(one);
  PyObject** items = reinterpret_cast<PyTupleObject*>(one.ptr())->ob_item;
  return std::make_unique<Column>(c10::ArrayRef<PyObject*>(items, 1), ColumnOptions());
}

class Binder {
 public:
  Binder(c10::Device device, Columns& columns, std::vector<py::object>& held)
      : device_(device), columns_(columns), held_(held) {}

  void bind(ResultNode& node, py::handle out, const Place* place) {
    if (out.is_none()) return;
    switch (node.kind) {
      case Kind::kDone:
        return bind_done(node, out, place);
      case Kind::kTensor:
        return bind_column(*columns_[node.tensor], out, place);
      case Kind::kMask: {
        Column& column = *columns_[node.tensor];
        column.out.mask = mask_rows(column, out, place, Wanted::Cast::kCollate);
        return;
      }
      case Kind::kDict:
      case Kind::kList:
      case Kind::kCall:
      case Kind::kMake:
        if (node.keys)
          return node.are_fields ? bind_fields(node, out, place) : bind_items(node, out, place);
        return bind_elements(node, out, place);
    }
  }

 private:
  void bind_items(ResultNode& node, py::handle out, const Place* place) {
    if (!is_mapping(out)) refuse_kind(place, "a mapping", out);
    const auto count = static_cast<Py_ssize_t>(node.children.size());
    for (Py_ssize_t k = 0; k < count; ++k) {
      PyObject* key = PyTuple_GET_ITEM(node.keys.ptr(), k);
      const Place child = Place::of_key(place, key);
      const auto value = py::reinterpret_steal<py::object>(PyObject_GetItem(out.ptr(), key));
      if (!value) {
        if (PyErr_ExceptionMatches(PyExc_KeyError) == 0) throw py::error_already_set();
        PyErr_Clear();
        refuse(&child, "a tensor, or None for a new one", "no such key");
      }
      bind(node.children[static_cast<std::size_t>(k)], value, &child);
    }
    const Py_ssize_t size = PyObject_Size(out.ptr());
    if (size < 0) throw py::error_already_set();
    if (size != count) {
      refuse(place, "the keys of the batch, " + repr_of(node.keys),
             "a mapping of " + std::to_string(size), " Leave the others out.");
    }
  }

  void bind_fields(ResultNode& node, py::handle out, const Place* place) {
    for (std::size_t k = 0; k < node.children.size(); ++k) {
      PyObject* name = PyTuple_GET_ITEM(node.keys.ptr(), static_cast<Py_ssize_t>(k));
      const Place child = Place::of_attribute(place, name);
      const auto value = py::reinterpret_steal<py::object>(PyObject_GetAttr(out.ptr(), name));
      if (!value) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError) == 0) throw py::error_already_set();
        PyErr_Clear();
        refuse_kind(place, "a record with the field " + repr_of(name), out);
      }
      bind(node.children[k], value, &child);
    }
  }

  void bind_elements(ResultNode& node, py::handle out, const Place* place) {
    const py::object elements = elements_of(out, node.children.size(), place);
    py::object names;
    if (node.kind == Kind::kCall) names = node.object.attr("_fields");
    for (std::size_t k = 0; k < node.children.size(); ++k) {
      const auto index = static_cast<Py_ssize_t>(k);
      const Place child = names ? Place::of_attribute(place, PyTuple_GET_ITEM(names.ptr(), index))
                                : Place::of_index(place, k);
      bind(node.children[k], PyTuple_GET_ITEM(elements.ptr(), index), &child);
    }
  }

  // A tensor, or a pair of them, or three.
  void bind_column(Column& column, py::handle out, const Place* place) {
    if (!column.plan.sizes_dtype || column.plan.layout.operation == Operation::kStack ||
        column.plan.layout.operation == Operation::kCat) {
      column.out.values = value_rows(column, out, place, place);
      return;
    }
    const bool has_mask = column.plan.mask && !column.mask_key;
    const py::object parts = elements_of(out, has_mask ? 3 : 2, place);
    const auto part = [&parts](Py_ssize_t k) { return PyTuple_GET_ITEM(parts.ptr(), k); };
    const Place first = Place::of_index(place, 0), second = Place::of_index(place, 1);
    column.out.values = value_rows(column, part(0), &first, place);
    const auto shape = column.plan.sizes_shape();
    column.out.sizes = rows(
        part(1), {*shape, *column.plan.sizes_dtype, Wanted::Cast::kNone, nullptr, false}, &second);
    if (!has_mask) return;
    const Place third = Place::of_index(place, 2);
    column.out.mask = mask_rows(column, part(2), &third, Wanted::Cast::kMask);
  }

  at::Tensor value_rows(const Column& column, py::handle out, const Place* place,
                        const Place* named) const {
    const BatchPlan& plan = column.plan;
    const bool is_pad = plan.layout.operation == Operation::kPad;
    const at::Tensor found =
        rows(out, {plan.layout.shape, plan.dtype, Wanted::Cast::kCollate, named, is_pad}, place);
    const auto format = column.memory_format.value_or(c10::MemoryFormat::Contiguous);
    if (found.defined() && format != c10::MemoryFormat::Contiguous &&
        !found.is_contiguous(format)) {
      refuse(place, "strides of channels_last, which Collate asks for",
             "strides " + shape_text(found.strides()),
             " Make it with memory_format=torch.channels_last, or leave that option out.");
    }
    return found;
  }

  at::Tensor mask_rows(const Column& column, py::handle out, const Place* place,
                       Wanted::Cast cast) const {
    const BatchPlan& ones = column.plan.mask->plan;
    return rows(out, {ones.layout.shape, ones.dtype, cast, place, true}, place);
  }

  // What is done already: a tensor is copied, all else stays.
  void bind_done(ResultNode& node, py::handle out, const Place* place) {
    if (!is_tensor(out)) return;
    if (node.object.is_none()) return;  // of samples that all have nothing here
    if (!is_tensor(node.object)) {
      refuse(place, "None, because no tensor stands there in the batch", "a tensor");
    }
    const at::Tensor& made = unpack_tensor(node.object);
    std::unique_ptr<Column> column;
    if (!is_for_torch(made) && !needs_gradient(made) && has_plain_memory(made)) {
      try {
        column = alone(node.object, held_);
      } catch (const ForTorch&) {  // within a transformation, say
      }
    }
    if (column == nullptr) {
      refuse(place,
             "None, because what is made of these samples is no plain tensor of the host's memory",
             "a tensor", " Put None there.");
    }
    const at::Tensor found =
        made.dim() == 0
            ? whole(out, {{}, made.scalar_type(), Wanted::Cast::kNone, nullptr, false}, place)
            : rows(out, {made.sizes(), made.scalar_type(), Wanted::Cast::kNone, nullptr, false},
                   place);
    column->out.values = found.unsqueeze(0);
    columns_.push_back(std::move(column));
    node.object = wrap_tensor(found);
  }

  at::Tensor whole(py::handle out, const Wanted& wanted, const Place* place) const {
    const at::Tensor found = writable(out, wanted, place);
    if (found.dim() > 0) refuse(place, "a tensor without dimensions", shape_text(found.sizes()));
    return found;
  }

  // The first rows; undefined for None.
  at::Tensor rows(py::handle out, const Wanted& wanted, const Place* place) const {
    if (out.is_none()) return {};
    const at::Tensor found = writable(out, wanted, place);
    const c10::IntArrayRef shape = found.sizes();
    const std::string remedy =
        wanted.is_padded ? " Pad(max_length=, pad_to_multiple_of=) makes all batches of one shape."
                         : "";
    if (shape.size() != wanted.shape.size() || shape.slice(1) != wanted.shape.slice(1)) {
      refuse(place, rows_text(wanted.shape), "shape " + shape_text(shape), remedy);
    }
    if (shape[0] == wanted.shape[0]) return found;
    if (shape[0] < wanted.shape[0]) {
      refuse(place, rows_text(wanted.shape), std::to_string(shape[0]),
             " Make it for the largest batch.");
    }
    return found.narrow(0, 0, wanted.shape[0]);
  }

  at::Tensor writable(py::handle out, const Wanted& wanted, const Place* place) const {
    if (!is_tensor(out)) refuse_kind(place, "a torch.Tensor, or None for a new one", out);
    if (overrides_torch(out)) refuse_kind(place, "a torch.Tensor that overrides nothing", out);
    const at::Tensor& found = unpack_tensor(out);
    check_writable(found, device_, place_text("out", place));
    if (found.scalar_type() != wanted.dtype) {
      refuse(place, "dtype " + dtype_text(wanted.dtype), dtype_text(found.scalar_type()),
             cast_remedy(wanted, found.scalar_type()));
    }
    return found;
  }

  // A tuple of so many.
  static py::object elements_of(py::handle out, std::size_t count, const Place* place) {
    const bool is_sequence = PySequence_Check(out.ptr()) != 0 && !PyUnicode_Check(out.ptr()) &&
                             !PyBytes_Check(out.ptr()) && !is_tensor(out) && !is_mapping(out);
    if (!is_sequence) refuse_kind(place, "a sequence of " + std::to_string(count), out);
    auto elements = py::reinterpret_steal<py::object>(PySequence_Tuple(out.ptr()));
    if (!elements) throw py::error_already_set();
    const auto size = static_cast<std::size_t>(PyTuple_GET_SIZE(elements.ptr()));
    if (size != count) {
      refuse(place, "a sequence of " + std::to_string(count), "one of " + std::to_string(size));
    }
    return elements;
  }

  static bool is_mapping(py::handle out) {
    if (PyDict_Check(out.ptr())) return true;
    const py::object mapping = import_module("collections.abc").attr("Mapping");
    return py::isinstance(out, mapping);
  }

  const c10::Device device_;
  Columns& columns_;
  std::vector<py::object>& held_;
};

}  // namespace

void bind_out(ResultNode& batch, py::handle out, c10::Device device, Columns& columns,
              std::vector<py::object>& held) {
  Binder(device, columns, held).bind(batch, out, nullptr);
}

void write_into(const py::list& tensors, const py::list& out, const ColumnsTarget& target) {
  Columns columns;
  std::vector<py::object> held;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    columns.push_back(alone(tensors[i], held));
    columns.back()->out.values = unpack_tensor(out[i]).unsqueeze(0);
  }
  if (!columns.empty()) join(columns, target);
}

}  // namespace tensorlift
