#include "arithmetic.h"

#include <ATen/ExpandUtils.h>
#include <c10/core/DeviceGuard.h>

#include "current.h"
#include "device_view.h"
#include "streams.h"

namespace fake {
namespace {

template <typename Operation>
bool enqueue(const char* what, at::Tensor& tensor, const at::Tensor& other, Operation operation) {
  if (tensor.device() != other.device() || tensor.scalar_type() != other.scalar_type()) {
    return false;
  }
  if (!at::is_expandable_to(other.sizes(), tensor.sizes())) return false;
  const c10::DeviceGuard on_device(tensor.device());
  streams().enqueue(current_stream(), what,
                    [operation, to = DeviceView(tensor), by = DeviceView(other)] {
                      run_plainly([&] {
                        at::Tensor result = to.on_host();
                        operation(result, by.on_host());
                      });
                    });
  return true;
}

}  // namespace

bool multiply(at::Tensor& tensor, const at::Tensor& other) {
  return enqueue("mul", tensor, other, [](at::Tensor& a, const at::Tensor& b) { a.mul_(b); });
}

bool subtract(at::Tensor& tensor, const at::Tensor& other) {
  return enqueue("sub", tensor, other, [](at::Tensor& a, const at::Tensor& b) { a.sub_(b); });
}

bool divide(at::Tensor& tensor, const at::Tensor& other) {
  return enqueue("div", tensor, other, [](at::Tensor& a, const at::Tensor& b) { a.div_(b); });
}

}  // namespace fake
