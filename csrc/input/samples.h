// Samples of one structure: what all of them hold in each place of it.
#pragma once

#include <c10/util/ArrayRef.h>

#include <cstddef>
#include <vector>

#include "binding/python_api.h"
#include "input/place.h"
#include "input/values.h"

namespace tensorlift {

// The values of all samples in `count` places. Errors are Python's, of torch's types, and name the
// sample that is unlike the first: `place` is where these containers stand. GIL held throughout.
struct Children {
  Values values;
  std::size_t count;
};

// Of what is exactly a dict, in their order.
[[nodiscard]] std::vector<py::object> keys_of(PyObject* dict);

// Of mappings: the values of the first one's keys. Throws KeyError, or TypeError: one is no
// mapping.
[[nodiscard]] Children read_mappings(c10::ArrayRef<PyObject*> samples,
                                     const std::vector<py::object>& keys, const Place* place);

// Of sequences of equal length; the first is a list or tuple. Throws RuntimeError, or TypeError:
// one is no sequence.
[[nodiscard]] Children read_sequences(c10::ArrayRef<PyObject*> samples, const Place* place);

// Of named tuples, the first of which is one: as far as the shortest goes, as by zip().
[[nodiscard]] Children read_named_tuples(c10::ArrayRef<PyObject*> samples, const Place* place);

// Of records with these fields. Throws TypeError: one has no such field.
[[nodiscard]] Children read_records(c10::ArrayRef<PyObject*> samples, const py::tuple& fields,
                                    const Place* place);

}  // namespace tensorlift
