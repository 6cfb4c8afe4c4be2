// Values: what stands in some places of all samples: references of our own, so that whatever other
// threads and Python code do to the samples meanwhile cannot pull a value away.
#pragma once

#include <c10/util/ArrayRef.h>

#include <cstddef>
#include <memory>

#include "binding/free_threading.h"
#include "binding/python_api.h"
#include "input/elements.h"

namespace tensorlift {

// `places` times `samples` references, those of a place side by side; null where none was set. GIL
// held throughout, also on destruction.
class Values {
 public:
  Values(std::size_t places, std::size_t samples)
      : size_(places * samples), samples_(samples), values_(new PyObject*[places * samples]()) {}
  ~Values() {
    if (values_ == nullptr || !PyGILState_Check()) return;  // a forced unwind: see gil.h
    for (std::size_t i = 0; i < size_; ++i) Py_XDECREF(values_[i]);
  }
  Values(Values&& other) noexcept = default;
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;
  Values& operator=(Values&&) = delete;

  // Takes a reference of its own.
  void set(std::size_t place, std::size_t sample, PyObject* value) {
    Py_INCREF(value);
    values_[place * samples_ + sample] = value;
  }
  // Takes the caller's reference, and releases one that was there.
  void take(std::size_t place, std::size_t sample, PyObject* value) {
    Py_XSETREF(values_[place * samples_ + sample], value);
  }

  // All samples' values at a place. Borrowed.
  [[nodiscard]] c10::ArrayRef<PyObject*> at(std::size_t place) const {
    return {values_.get() + place * samples_, samples_};
  }

 private:
  std::size_t size_;
  std::size_t samples_;
  std::unique_ptr<PyObject*[]> values_;
};

// What a list or a tuple of exactly that type holds now: one place of all samples.
[[nodiscard]] inline Values values_of(PyObject* list) {
  const ObjectLock lock(list);
  const c10::ArrayRef<PyObject*> elements = elements_of(list);
  Values values(1, elements.size());
  for (std::size_t i = 0; i < elements.size(); ++i) values.set(0, i, elements[i]);
  return values;
}

}  // namespace tensorlift
