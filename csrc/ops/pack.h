// pack: sequences → rows of whole sequences without padding.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "binding/python_api.h"
#include "ops/batch.h"
#include "plan/pack_rows.h"

namespace tensorlift {

struct PackOptions : BatchOptions {  // of kJagged
  std::int64_t max_tokens = 1;
  PackStrategy strategy = PackStrategy::kDecreasing;
};

struct Packed {
  at::Tensor tokens;        // [total, ...]: all rows, one after another
  at::Tensor position_ids;  // int64 [total]: where in its sequence each token stands
  at::Tensor cu_seqlens;    // int32 [sequences + 1]: where each sequence begins, and the end
  at::Tensor sequences;     // int64 [sequences]: which one of the caller's each is; of the host
  at::Tensor row_offsets;   // int64 [rows + 1]: where each row begins, and the end; of the host
};

// Calls use({tokens with cu_seqlens, position_ids}, rows) for sequences that were truncated. Throws
// ValueError where there are more tokens than int32 can count. GIL held.
using UsePacked = std::function<void(const std::vector<BatchToSend>&, const PackedRows&)>;
void with_packed(const Sources& sources, const PackOptions& options, const UsePacked& use);

// GIL held; released while elements are copied, if that is much, or sent.
[[nodiscard]] Packed make_packed(py::handle arrays, const PackOptions& options);

// int64 [end]: how far each place is behind the offset before it. `offsets`: [arrays + 1], int32 or
// int64, of the host, from 0 on. Throws ValueError where they decrease. GIL held; as above.
[[nodiscard]] at::Tensor position_ids(const at::Tensor& offsets);

}  // namespace tensorlift
