#include "device/normalize_on_device.h"

#include <ATen/ops/empty_strided.h>

namespace tensorlift {

void normalize_on_device(const at::Tensor& sent, const at::Tensor& numbers,
                         const at::Tensor& result) {
  const bool is_result = result.scalar_type() == numbers.scalar_type();
  at::Tensor computed = is_result
                            ? result
                            : at::empty_strided(result.sizes(), result.strides(),
                                                result.options().dtype(numbers.scalar_type()));
  computed.copy_(sent, /*non_blocking=*/true);
  // Divided by a tensor: by a number, torch multiplies by its reciprocal.
  computed.mul_(numbers.select(0, 0)).sub_(numbers.select(0, 1)).div_(numbers.select(0, 2));
  if (!is_result) result.copy_(computed, /*non_blocking=*/true);
}

}  // namespace tensorlift
