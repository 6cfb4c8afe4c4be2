#include "input/date_units.h"

#include <algorithm>
#include <string>

#include "binding/options.h"
#include "errors.h"
#include "input/inspect.h"

namespace tensorlift {
namespace {

bool has_dates(const Sources::Signature& signature) {
  return signature.element.kind == ElementKind::kDatetime && signature.numel > 0;
}

PyArray_Descr* descr_of(const py::object& dtype) {
  return reinterpret_cast<PyArray_Descr*>(dtype.ptr());
}

py::object native(const py::object& dtype) { return dtype.attr("newbyteorder")("="); }

// Also where only their byte order differs.
bool are_equal(const py::object& a, const py::object& b) {
  if (a.is(b) || PyArray_EquivTypes(descr_of(a), descr_of(b))) return true;
  return native(a).equal(native(b));
}

std::string name_of(const py::object& dtype) { return py::str(dtype).cast<std::string>(); }

std::string remedy(const py::object& a, const py::object& b) {
  constexpr const char* kNothing = "Make a batch of each.";
  if (descr_of(a)->type_num != descr_of(b)->type_num) return kNothing;
  const auto common = py::reinterpret_steal<py::object>(
      reinterpret_cast<PyObject*>(PyArray_PromoteTypes(descr_of(a), descr_of(b))));
  if (!common) {  // years and seconds, say
    clear_refusal();
    return kNothing;
  }
  return "Use array.astype(\"" + name_of(common) + "\") for all.";
}

}  // namespace

void check_date_units(const Items& items, const Sources& sources) {
  const auto signatures = sources.signatures();
  if (std::none_of(signatures.begin(), signatures.end(), has_dates)) return;
  py::object model;
  std::size_t model_index = 0;
  sources.for_each_signature([&](const Sources::Signature& signature, std::size_t begin,
                                 std::size_t end) {
    if (!has_dates(signature)) return;
    for (std::size_t i = begin; i < end; ++i) {
      py::object dtype = dtype_of(items[i]);
      if (!model) {
        model = std::move(dtype);
        model_index = i;
      } else if (!are_equal(dtype, model)) {
        throw TypeError("arrays[" + std::to_string(i) + "]: expected " + name_of(native(model)) +
                        " like arrays[" + std::to_string(model_index) + "], got " +
                        name_of(native(dtype)) + ". " + remedy(native(model), native(dtype)));
      }
    }
  });
}

}  // namespace tensorlift
