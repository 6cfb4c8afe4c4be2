#include "input/source_reader.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "binding/conversion_error.h"
#include "binding/free_threading.h"
#include "binding/options.h"
#include "binding/torch_modes.h"
#include "binding/torch_objects.h"
#include "errors.h"
#include "input/elements.h"
#include "input/foreign_memory.h"
#include "input/inspect.h"
#include "input/tensor_input.h"
#include "text.h"

namespace tensorlift {
namespace {

// How far ahead to load array headers; see from_numpy.cpp.
constexpr std::size_t kPrefetchDistance = 4;

// The view with its channel dimension in front.
void move_channels(std::size_t index, std::int64_t dim, ArrayView& view, std::int64_t* shape,
                   std::int64_t* strides) {
  if (dim < -view.ndim || dim >= view.ndim) {
    throw IndexError("arrays[" + std::to_string(index) +
                     "]: expected a dimension channel_dim=" + std::to_string(dim) +
                     ", got an array of " + std::to_string(view.ndim) + " dimensions.");
  }
  const std::int64_t channels = dim < 0 ? dim + view.ndim : dim;
  const auto move = [&](const std::int64_t* from, std::int64_t* to) {
    to[0] = from[channels];
    std::copy(from, from + channels, to + 1);
    std::copy(from + channels + 1, from + view.ndim, to + channels + 1);
  };
  move(view.shape, shape);
  move(view.strides, strides);
  view.shape = shape;
  view.strides = strides;
}

// The view with its channels, the first dimension, in the opposite order.
void reverse_channels(std::size_t index, ArrayView& view, std::int64_t* strides) {
  if (view.ndim == 0 || view.shape[0] != 3) {
    throw ValueError("arrays[" + std::to_string(index) +
                     "]: expected 3 channels for channel_order=\"bgr\", got shape " +
                     shape_text(shape_of(view)) +
                     ". Channels are the first dimension, unless channel_dim= says which: -1 for "
                     "(height, width, channels).");
  }
  if (view.strides != strides) std::copy(view.strides, view.strides + view.ndim, strides);
  if (std::find(view.shape, view.shape + view.ndim, 0) == view.shape + view.ndim) {
    view.data = static_cast<char*>(view.data) + 2 * strides[0];
  }
  strides[0] = -strides[0];
  view.strides = strides;
}

#ifdef Py_GIL_DISABLED

// How many lists are in each other, by their first elements; more than torch has dimensions: no
// end.
std::size_t depth_of(PyObject* value) {
  auto held = py::reinterpret_borrow<py::object>(value);
  std::size_t depth = 0;
  while (is_list(held.ptr()) && depth <= kMaxDims) {
    ++depth;
    if (PySequence_Fast_GET_SIZE(held.ptr()) == 0) break;
    const HeldItem first(held.ptr(), 0);
    held = py::reinterpret_borrow<py::object>(first.get());
    if (!held) break;
  }
  return depth;
}

// The same elements in lists that no other thread has.
py::object copy_of_lists(PyObject* value, std::size_t depth) {
  if (depth == 0 || !is_list(value)) return py::reinterpret_borrow<py::object>(value);
  auto copy = py::reinterpret_steal<py::object>(PySequence_List(value));
  if (!copy) throw py::error_already_set();
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(copy.ptr()); ++i) {
    PyObject* element = PyList_GET_ITEM(copy.ptr(), i);
    if (!is_list(element)) continue;
    PyList_SetItem(copy.ptr(), i, copy_of_lists(element, depth - 1).release().ptr());
  }
  return copy;
}

// torch neither locks a list nor holds its elements while it reads them.
py::object list_for_torch(PyObject* list) {
  const std::size_t depth = depth_of(list);
  return copy_of_lists(list, depth > kMaxDims ? 0 : depth);
}

#else

py::handle list_for_torch(PyObject* list) { return list; }

#endif

// What torch makes of a list that is not of Python's numbers alone.
at::Tensor tensor_of_list(std::size_t index, PyObject* list) {
  try {
    return unpack_tensor(import_module("torch").attr("tensor")(list_for_torch(list)));
  } catch (const py::error_already_set& error) {
    if (!is_refusal(error)) throw;
    const std::string why = py::str(error.value()).cast<std::string>();
    throw TypeError("arrays[" + std::to_string(index) +
                    "]: expected an array, a tensor or a list of numbers, got " +
                    Py_TYPE(list)->tp_name + " (" + why.substr(0, why.find('\n')) + ").");
  }
}

}  // namespace

SourceReader::SourceReader(Items items, const ReadOptions& options)
    : items_(std::move(items)),
      options_(options),
      convert_{options.dtype, CopyPolicy::kAlways, ReadonlyPolicy::kShare},
      is_torch_asked_(options.leaves_to_torch && is_torch_asked()) {
  sources_.reserve(items_.size());
}

void SourceReader::read_all() {
  const bool as_they_are = !options_.channel_dim && !options_.reverses_channels;
  for (std::size_t i = 0; i < items_.size(); ++i) {
    items_.prefetch(i + kPrefetchDistance);
    if (as_they_are) {
      if (PyArray_CheckExact(items_[i])) {
        signature_.clear();
        const ArrayView view = inspect_exact(items_[i], header_);
        if (sources_.extend(view) || sources_.extend_ragged(view)) continue;
      } else if (options_.takes_tensors && !is_torch_asked_ && extend_by_tensor(items_[i])) {
        continue;
      }
    }
    signature_.clear();
    read(i);
  }
}

bool SourceReader::extend_by_tensor(PyObject* item) {
  if (!is_exact_tensor(item)) return false;
  const at::Tensor& tensor = unpack_tensor(item);
  const c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  if (char* data = signature_.data_if_like(impl)) {
    sources_.extend_by(data);
  } else {
    ArrayView view;
    if (!view_of_common_tensor(tensor, view, tensor_strides_)) return false;
    if (!sources_.extend(view) && !sources_.extend_ragged(view)) {
      if (!impl.is_contiguous()) return false;  // only then its elements may be too many
      sources_.add(view, impl.numel());
    }
    signature_.set(impl);
  }
  if (storages_.empty()) storages_.reserve(items_.size());
  storages_.push_back(impl.unsafe_storage());
  return true;
}

Plan SourceReader::read(std::size_t index) {
  ArrayView view = view_of(index);
  Plan plan;
  plan_array(view, convert_, plan);
  if (plan.action == Action::kReject) {
    throw_conversion_error(index, items_[index], shape_of(view), plan);
  }
  std::int64_t shape[kMaxDims];
  std::int64_t strides[kMaxDims];
  const bool is_passed_over = options_.passes_over_empty && view.ndim == 1 && view.shape[0] == 0;
  if (options_.channel_dim && !is_passed_over)
    move_channels(index, *options_.channel_dim, view, shape, strides);
  if (options_.reverses_channels && !is_passed_over) reverse_channels(index, view, strides);
  sources_.add(view, plan.numel);
  return plan;
}

ArrayView SourceReader::view_of(std::size_t index) {
  PyObject* item = items_[index];
  if (options_.takes_tensors && is_tensor(item)) {
    if (options_.leaves_to_torch) leave_to_torch(index);
    return view_of_tensor_at(index, unpack_tensor(item));
  }
  if (options_.takes_lists && is_list(item)) return view_of_list(index);
  read_foreign(index);
  py::object scalar;
  const ArrayView view = inspect(items_[index], &scalar, header_);
  if (scalar) scalars_.push_back(std::move(scalar));
  return view;
}

void SourceReader::read_foreign(std::size_t index) {
  if (options_.leaves_foreign_to_torch && has_foreign_memory(items_[index])) {
    if (index == 0) is_first_foreign_ = true;
    if (!is_first_foreign_) {  // beside arrays torch takes what is a sequence as one of numbers
      throw ForTorch("arrays[" + std::to_string(index) + "]: expected an array, got " +
                     Py_TYPE(items_[index])->tp_name + ".");
    }
  }
  items_.read_foreign(index);
}

void SourceReader::leave_to_torch(std::size_t index) {
  const at::Tensor& tensor = unpack_tensor(items_[index]);
  const bool is_refused = is_for_torch(tensor);
  if (!is_refused && !is_torch_asked_ && !overrides_torch(items_[index])) return;
  if (!is_refused) throw ForTorch("");
  try {
    static_cast<void>(view_of_tensor_at(index, tensor));
  } catch (const std::runtime_error& refusal) {
    throw ForTorch(refusal.what());
  }
}

ArrayView SourceReader::view_of_tensor_at(std::size_t index, at::Tensor tensor) {
  const char* type_name = Py_TYPE(items_[index])->tp_name;
  ArrayView view = view_of_tensor(index, type_name, tensor, tensor_strides_);
  storages_.push_back(tensor.storage());
  std::copy(view.shape, view.shape + view.ndim, tensor_shape_);  // of a copy, perhaps
  view.shape = tensor_shape_;
  return view;
}

ArrayView SourceReader::view_of_list(std::size_t index) {
  const auto list = read_number_list(items_[index], numbers_);
  if (!list) return view_of_tensor_at(index, tensor_of_list(index, items_[index]));
  std::copy(list->shape.begin(), list->shape.end(), tensor_shape_);
  ArrayView view;
  view.data = list->elements;
  view.shape = tensor_shape_;
  view.ndim = static_cast<int>(list->shape.size());
  view.element = {list->dtype, ElementKind::kNumber,
                  static_cast<std::uint8_t>(c10::elementSize(list->dtype))};
  view.source_kind = SourceKind::kArray;
  std::int64_t stride = view.element.itemsize;
  for (int d = view.ndim; d-- > 0;) {
    tensor_strides_[d] = stride;
    stride *= view.shape[d];
  }
  view.strides = tensor_strides_;
  return view;
}

}  // namespace tensorlift
