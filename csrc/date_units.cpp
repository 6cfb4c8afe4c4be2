#include "date_units.h"

#include <algorithm>
#include <string>

#include "errors.h"
#include "inspect.h"

namespace tensorlift {
namespace {

py::object native_dtype(PyObject* item) { return dtype_of(item).attr("newbyteorder")("="); }

bool is_of_dates(const Sources::Form& form) { return form.element.kind == ElementKind::kDatetime; }

}  // namespace

void check_date_units(const Items& items, const Sources& sources) {
  const auto forms = sources.forms();
  if (std::none_of(forms.begin(), forms.end(), is_of_dates)) return;
  py::object model;
  std::size_t model_index = 0;
  sources.for_each_form([&](const Sources::Form& form, std::size_t begin, std::size_t end) {
    if (!is_of_dates(form)) return;
    for (std::size_t i = begin; i < end; ++i) {
      py::object dtype = native_dtype(items[i]);
      if (!model) {
        model = std::move(dtype);
        model_index = i;
      } else if (!dtype.equal(model)) {
        const auto expected = py::str(model).cast<std::string>();
        throw TypeError(
            "arrays[" + std::to_string(i) + "]: expected " + expected + " like arrays[" +
            std::to_string(model_index) + "], got " + py::str(dtype).cast<std::string>() +
            ": their counts mean different things. Use array.astype(\"" + expected + "\").");
      }
    }
  });
}

}  // namespace tensorlift
