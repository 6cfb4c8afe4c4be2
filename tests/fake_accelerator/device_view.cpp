#include "device_view.h"

#include <ATen/ops/from_blob.h>

namespace fake {

at::Tensor DeviceView::on_host() const {
  at::Tensor tensor = at::from_blob(address_, shape_, strides_, at::TensorOptions().dtype(dtype_));
  tensor._set_conj(is_conj_);
  tensor._set_neg(is_neg_);
  return tensor;
}

}  // namespace fake
