// Owner: how a tensor's storage keeps a Python object alive, and releases it.
#pragma once

#include <c10/core/Allocator.h>

#include "binding/python_api.h"

namespace tensorlift {

// Memory at `data`, kept alive by `object`, whose reference it takes over (steals). When the last
// storage over it dies the reference is dropped: on whatever thread, with or without the GIL.
[[nodiscard]] c10::DataPtr own(PyObject* object, void* data);

}  // namespace tensorlift
