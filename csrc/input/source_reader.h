// SourceReader: the caller's items, held fast and read into Sources.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <optional>
#include <utility>
#include <vector>

#include "binding/python_api.h"
#include "input/inspect.h"
#include "input/items.h"
#include "input/number_list.h"
#include "input/tensor_input.h"
#include "plan/array_view.h"
#include "plan/plan.h"
#include "plan/sources.h"

namespace tensorlift {

struct ReadOptions {
  std::optional<c10::ScalarType> dtype;     // that they are converted to
  std::optional<std::int64_t> channel_dim;  // of every array: moved to the front
  bool reverses_channels = false;           // of which there are 3
  bool passes_over_empty = false;           // 1-D arrays without elements need no such dimension
  bool takes_tensors = true;                // tensors may stand among the arrays
  bool takes_lists = false;                 // lists of Python numbers, too
  bool leaves_to_torch = false;             // ForTorch for tensors that torch knows better
  bool leaves_foreign_to_torch = false;     // ForTorch for foreign memory beside arrays
};

// GIL held throughout, also on destruction. While it lives the memory of what it read stays, unless
// somebody resizes it behind its owner's back (Storage.resize_(), ndarray.resize(refcheck=False)).
class SourceReader {
 public:
  SourceReader(Items items, const ReadOptions& options);

  // Reads every item. Throws TypeError, ValueError or IndexError that names the array.
  void read_all();

  // Reads one item, adds it to sources() and says what will be done with it.
  Plan read(std::size_t index);

  [[nodiscard]] const Items& items() const { return items_; }
  // What was read, which is true as long as this lives.
  [[nodiscard]] const Sources& sources() const { return sources_; }
  [[nodiscard]] Sources& sources() { return sources_; }

 private:
  // Adds a tensor that is like the one before it; false: it is not, or is no common tensor.
  [[nodiscard]] bool extend_by_tensor(PyObject* item);
  [[nodiscard]] ArrayView view_of(std::size_t index);
  // Throws ForTorch where torch knows the tensor better; its text is why we refuse it, if we do.
  void leave_to_torch(std::size_t index);
  [[nodiscard]] ArrayView view_of_tensor_at(std::size_t index, at::Tensor tensor);
  [[nodiscard]] ArrayView view_of_list(std::size_t index);
  void read_foreign(std::size_t index);

  Items items_;
  const ReadOptions options_;
  const ConvertOptions convert_;
  const bool is_torch_asked_;
  Sources sources_;
  std::vector<py::object> scalars_;              // arrays that inspect() made
  std::pmr::monotonic_buffer_resource numbers_;  // elements of lists
  std::vector<c10::Storage> storages_;           // of tensors, which may get others meanwhile
  bool is_first_foreign_ = false;                // memory of a kind that torch does not take
  TensorSignature signature_;  // of the tensor that was read last; not set after an array
  HeaderCopy header_;          // of the array that was read last
  std::int64_t tensor_shape_[kMaxDims];
  std::int64_t tensor_strides_[kMaxDims];
};

}  // namespace tensorlift
