#include "input/samples.h"

#include <algorithm>
#include <string>
#include <utility>

#include "binding/free_threading.h"
#include "input/elements.h"

namespace tensorlift {
namespace {

[[noreturn]] void refuse(PyObject* error, std::size_t sample, const Place* place,
                         const std::string& message) {
  const std::string text = place_text(sample, place) + ": " + message;
  PyErr_SetString(error, text.c_str());
  throw py::error_already_set();
}

// " Use …" where the samples are lists of numbers.
std::string remedy_for_lengths(PyObject* first, PyObject* other, const Place* place) {
  return import_module("tensorlift._data.collate")
      .attr("remedy_for_lengths")(py::handle(first), py::handle(other), path_of(place))
      .cast<std::string>();
}

std::string like_the_first(const char* what, PyObject* got) {
  return std::string("expected ") + what + " like samples[0], got " + Py_TYPE(got)->tp_name + ".";
}

// What is set is Python's own word for a value that cannot do what samples[0] can.
[[noreturn]] void refuse_type(const char* what, PyObject* got, std::size_t sample,
                              const Place* place) {
  const py::error_already_set raised;
  if (!raised.matches(PyExc_TypeError)) throw raised;
  refuse(PyExc_TypeError, sample, place, like_the_first(what, got));
}

// The values of a dict that has the same keys in the same order, without a look-up; false where
// that is not so. Runs no Python code.
bool read_row(PyObject* sample, const std::vector<py::object>& keys, std::size_t index,
              Values& values) {
  const ObjectLock lock(sample);
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t position = 0;
  for (std::size_t k = 0; k < keys.size(); ++k) {
    if (PyDict_Next(sample, &position, &key, &value) == 0 || key != keys[k].ptr()) return false;
    values.set(k, index, value);
  }
  return true;
}

void look_up_row(PyObject* sample, const std::vector<py::object>& keys, std::size_t index,
                 Values& values, const Place* place) {
  for (std::size_t k = 0; k < keys.size(); ++k) {
    PyObject* value = PyObject_GetItem(sample, keys[k].ptr());
    if (value != nullptr) {
      values.take(k, index, value);
      continue;
    }
    if (PyErr_ExceptionMatches(PyExc_KeyError) && PyDict_Check(sample)) {
      PyErr_Clear();
      refuse(PyExc_KeyError, index, place,
             "expected the key " + py::repr(keys[k]).cast<std::string>() + ", as in samples[0].");
    }
    refuse_type("a mapping", sample, index, place);
  }
}

// The elements of a list or a tuple of exactly that type, if there are `count`; false where that is
// not so. Runs no Python code.
bool read_elements(PyObject* sample, std::size_t count, std::size_t index, Values& values) {
  if (!is_list(sample)) return false;
  const ObjectLock lock(sample);
  const c10::ArrayRef<PyObject*> elements = elements_of(sample);
  if (elements.size() != count) return false;
  for (std::size_t k = 0; k < count; ++k) values.set(k, index, elements[k]);
  return true;
}

// At most `count` elements of any iterable, and how many there were.
std::size_t iterate(PyObject* sample, std::size_t count, std::size_t index, Values& values,
                    const Place* place) {
  // As zip() does it: never asked for its length, and for no element more.
  const auto iterator = py::reinterpret_steal<py::object>(PyObject_GetIter(sample));
  if (!iterator) refuse_type("a sequence", sample, index, place);
  for (std::size_t k = 0; k < count; ++k) {
    PyObject* element = PyIter_Next(iterator.ptr());
    if (element == nullptr && PyErr_Occurred() != nullptr) throw py::error_already_set();
    if (element == nullptr) return k;
    values.take(k, index, element);
  }
  return count;
}

}  // namespace

std::vector<py::object> keys_of(PyObject* dict) {
  std::vector<py::object> keys;
  const ObjectLock lock(dict);
  keys.reserve(static_cast<std::size_t>(PyDict_GET_SIZE(dict)));
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t position = 0;
  while (PyDict_Next(dict, &position, &key, &value) != 0) {
    keys.push_back(py::reinterpret_borrow<py::object>(key));
  }
  return keys;
}

Children read_mappings(c10::ArrayRef<PyObject*> samples, const std::vector<py::object>& keys,
                       const Place* place) {
  Values values(keys.size(), samples.size());
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (PyDict_CheckExact(samples[i]) && read_row(samples[i], keys, i, values)) continue;
    look_up_row(samples[i], keys, i, values, place);
  }
  return {std::move(values), keys.size()};
}

Children read_sequences(c10::ArrayRef<PyObject*> samples, const Place* place) {
  const auto count = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(samples[0]));
  Values values(count, samples.size());
  std::size_t shortest = count;  // iterating may give less than len() says
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (read_elements(samples[i], count, i, values)) continue;
    const Py_ssize_t length = PyObject_Size(samples[i]);
    if (length < 0) refuse_type("a sequence", samples[i], i, place);
    if (static_cast<std::size_t>(length) != count) {
      refuse(PyExc_RuntimeError, i, place,
             "expected " + std::to_string(count) + " elements like samples[0], got " +
                 std::to_string(length) +
                 ": each element in list of batch should be of equal size." +
                 remedy_for_lengths(samples[0], samples[i], place));
    }
    shortest = std::min(shortest, iterate(samples[i], count, i, values, place));
  }
  return {std::move(values), shortest};
}

Children read_named_tuples(c10::ArrayRef<PyObject*> samples, const Place* place) {
  const auto count = static_cast<std::size_t>(PyTuple_GET_SIZE(samples[0]));
  const PyTypeObject* type = Py_TYPE(samples[0]);
  Values values(count, samples.size());
  std::size_t shortest = count;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (Py_TYPE(samples[i]) == type &&
        PyTuple_GET_SIZE(samples[i]) == PyTuple_GET_SIZE(samples[0])) {
      for (std::size_t k = 0; k < count; ++k) {
        values.set(k, i, PyTuple_GET_ITEM(samples[i], static_cast<Py_ssize_t>(k)));
      }
      continue;
    }
    shortest = std::min(shortest, iterate(samples[i], count, i, values, place));
  }
  return {std::move(values), shortest};
}

Children read_records(c10::ArrayRef<PyObject*> samples, const py::tuple& fields,
                      const Place* place) {
  Values values(fields.size(), samples.size());
  for (std::size_t i = 0; i < samples.size(); ++i) {
    for (std::size_t k = 0; k < fields.size(); ++k) {
      PyObject* name = PyTuple_GET_ITEM(fields.ptr(), static_cast<Py_ssize_t>(k));
      PyObject* value = PyObject_GetAttr(samples[i], name);
      if (value == nullptr) {
        if (Py_TYPE(samples[i]) == Py_TYPE(samples[0]) ||
            !PyErr_ExceptionMatches(PyExc_AttributeError)) {
          throw py::error_already_set();
        }
        PyErr_Clear();
        refuse(PyExc_TypeError, i, place, like_the_first(Py_TYPE(samples[0])->tp_name, samples[i]));
      }
      values.take(k, i, value);
    }
  }
  return {std::move(values), fields.size()};
}

}  // namespace tensorlift
