// explain, for what builds a batch.
#pragma once

#include <optional>

#include "binding/device_options.h"
#include "binding/python_api.h"
#include "ops/batch.h"
#include "ops/pack.h"
#include "plan/slabs.h"

namespace tensorlift {

// What make_batch would do, without doing it: (entries, shape, dtype, error, transfer). Entries are
// as those of explain(); shape and dtype are the batch's, None where there would be none; error is
// the message of what make_batch would raise, else None. With a device entries have two items more,
// how the array is sent ("packed", "pinned" or "plain") and where it is cast ("host" or "device"),
// each None where it is not; transfer is (device, windows, copies, nbytes, casts), see
// TransferCounts. It is None where nothing would be sent. GIL held.
[[nodiscard]] py::tuple explain_batch(py::handle arrays, const BatchOptions& options);

// The same for from_numpy(device=), without shape and dtype.
[[nodiscard]] py::tuple explain_sent(py::handle arrays, std::optional<c10::ScalarType> dtype,
                                     const DeviceOptions& device, Packing packing);

// The same for pack, with the rows at the end: a tuple of the arrays' indices for each, or None
// where there would be an error.
[[nodiscard]] py::tuple explain_pack(py::handle arrays, const PackOptions& options);

// Resets the options that the operation does not have, so that explain can be given any.
void ignore_unused(BatchOptions& options);

}  // namespace tensorlift
