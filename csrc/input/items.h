// Items: the caller's list, held fast. References of our own, taken before anything else happens,
// so that whatever other threads, iterators and finalizers do to the list cannot pull an array
// away.
#pragma once

#include <c10/util/ArrayRef.h>
#include <c10/util/SmallVector.h>

#include <cstddef>
#include <utility>

#include "binding/python_api.h"

namespace tensorlift {

// GIL held throughout, also on destruction.
class Items {
 public:
  // What the caller holds, for as long as this lives.
  explicit Items(c10::ArrayRef<PyObject*> held) : size_(held.size()), items_(held.data()) {}
  // Reads any sequence or iterable, once. Refuses with a TypeError what is one array, one tensor,
  // text or a mapping; passes on whatever an iterator raises.
  explicit Items(py::handle arrays);
  ~Items();
  Items(Items&& other) noexcept;
  Items(const Items&) = delete;
  Items& operator=(const Items&) = delete;
  Items& operator=(Items&&) = delete;

  [[nodiscard]] std::size_t size() const { return size_; }

  // Borrowed, as long as this lives and nothing is taken.
  [[nodiscard]] c10::ArrayRef<PyObject*> all() const { return {items_, size_}; }

  // Borrowed.
  [[nodiscard]] PyObject* operator[](std::size_t index) const { return items_[index]; }

  // Puts an array in the place of an item that is none, but has memory (see foreign_memory.h).
  // Throws TypeError, naming arrays[index], where that cannot be read. May run Python code.
  void read_foreign(std::size_t index);

  // Gives the reference, which is not the caller's yet, to the caller. The item must not be asked
  // for again.
  [[nodiscard]] PyObject* take(std::size_t index) { return std::exchange(own_[index], nullptr); }

  // Starts to load the object into the cache: with a long list every header is a cache miss.
  void prefetch(std::size_t index) const {
    if (index < size_) __builtin_prefetch(items_[index]);
  }

 private:
  void hold(c10::ArrayRef<PyObject*> items);
  void hold_all_of(py::handle iterable);

  c10::SmallVector<PyObject*, 16> own_;  // references that end with this
  std::size_t size_ = 0;
  PyObject* const* items_ = nullptr;  // all of own_, or the caller's
};

}  // namespace tensorlift
