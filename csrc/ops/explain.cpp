#include "ops/explain.h"

#include "binding/conversion_error.h"
#include "binding/torch_objects.h"
#include "errors.h"
#include "input/inspect.h"
#include "input/items.h"

namespace tensorlift {
namespace {

const char* action_text(Action action) {
  switch (action) {
    case Action::kShare:
      return "shared";
    case Action::kCopy:
      return "copied";
    case Action::kReject:
      return "rejected";
  }
  return "unknown";
}

py::object shape_tuple(const ArrayView& view, const Shape& shape) {
  if (view.source_kind == SourceKind::kOther) return py::none();
  py::tuple sizes(shape.size());
  for (std::size_t d = 0; d < shape.size(); ++d) sizes[d] = py::int_(shape[d]);
  return sizes;
}

// Why a refused copy would have been needed says more than that it was refused.
std::string reason_of(const Plan& plan) {
  const std::string reason = reason_text(plan.reason);
  return plan.copy_refused ? reason + " and copy=False" : reason;
}

py::tuple explain_one(std::size_t index, PyObject* item, const ConvertOptions& options) {
  py::object scalar;
  HeaderCopy header;
  const ArrayView view = inspect(item, &scalar, header);
  Plan plan;
  plan_array(view, options, plan);
  const Shape shape = shape_of(view);  // from here on Python objects are made
  const bool rejected = plan.action == Action::kReject;
  py::object dtype_in =
      view.source_kind == SourceKind::kOther ? py::object(py::none()) : dtype_of(item);
  py::object dtype_out = rejected ? py::object(py::none()) : dtype_object(plan.dtype);
  py::object message = rejected ? py::object(py::str(conversion_message(index, item, shape, plan)))
                                : py::object(py::none());
  return py::make_tuple(action_text(plan.action), reason_of(plan), shape_tuple(view, shape),
                        std::move(dtype_in), std::move(dtype_out), rejected ? 0 : plan.nbytes,
                        std::move(message));
}

}  // namespace

py::list explain(py::handle arrays, const ConvertOptions& options) {
  Items items(arrays);
  py::list answers;
  for (std::size_t i = 0; i < items.size(); ++i) {
    try {
      items.read_foreign(i);
    } catch (const TypeError& error) {
      answers.append(py::make_tuple("rejected", "cannot be read", py::none(), py::none(),
                                    py::none(), 0, error.what()));
      continue;
    }
    answers.append(explain_one(i, items[i], options));
  }
  return answers;
}

}  // namespace tensorlift
