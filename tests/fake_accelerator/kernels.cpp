// Kernels: the operators that the device has itself, to make, view and copy tensors, and arithmetic
// in place; all others run on the CPU.

#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/div_ops.h>
#include <ATen/ops/mul_ops.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/sub_ops.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <optional>
#include <utility>

#include "arithmetic.h"
#include "copy.h"
#include "counters.h"
#include "current.h"
#include "device_memory.h"
#include "registered_memory.h"

namespace fake {
namespace {

using OptionalDtype = std::optional<at::ScalarType>;
using OptionalLayout = std::optional<at::Layout>;
using OptionalDevice = std::optional<at::Device>;
using OptionalFormat = std::optional<at::MemoryFormat>;

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

at::Tensor empty(at::IntArrayRef shape, OptionalDtype dtype, OptionalLayout /*layout*/,
                 OptionalDevice device, std::optional<bool> /*pin_memory*/, OptionalFormat format) {
  const c10::DeviceGuard on_device(c10::device_or_default(device));
  return at::detail::empty_generic(shape, &device_allocator(), kKeys, c10::dtype_or_default(dtype),
                                   format);
}

at::Tensor empty_strided(at::IntArrayRef shape, at::IntArrayRef strides, OptionalDtype dtype,
                         OptionalLayout /*layout*/, OptionalDevice device,
                         std::optional<bool> /*pin_memory*/) {
  const c10::DeviceGuard on_device(c10::device_or_default(device));
  return at::detail::empty_strided_generic(shape, strides, &device_allocator(), kKeys,
                                           c10::dtype_or_default(dtype));
}

at::Tensor as_strided(const at::Tensor& tensor, at::IntArrayRef shape, at::IntArrayRef strides,
                      std::optional<std::int64_t> offset) {
  return at::native::as_strided_tensorimpl(tensor, shape, strides, offset);
}

at::Tensor view(const at::Tensor& tensor, at::IntArrayRef shape) {
  return at::native::view(tensor, shape);
}

at::Tensor reshape_alias(const at::Tensor& tensor, at::IntArrayRef shape, at::IntArrayRef strides) {
  return at::native::_reshape_alias(tensor, shape, strides);
}

// The one for CPU moves no memory either, as long as the storage is large enough.
at::Tensor& set_storage(at::Tensor& tensor, at::Storage storage, std::int64_t offset,
                        at::IntArrayRef shape, at::IntArrayRef strides) {
  return at::native::set_storage_cpu_(tensor, std::move(storage), offset, shape, strides);
}

at::Tensor& set_whole_storage(at::Tensor& tensor, at::Storage storage) {
  const auto numel = static_cast<std::int64_t>(storage.nbytes() / tensor.itemsize());
  return set_storage(tensor, std::move(storage), 0, {numel}, {});
}

void record_stream(at::Tensor& tensor, c10::Stream stream) {
  use_on_stream(tensor.storage().data(), stream_index(stream));
}

// Memory that is too small is replaced; what it held is kept, as torch does.
const at::Tensor& resize(const at::Tensor& tensor, at::IntArrayRef shape, OptionalFormat format) {
  TORCH_CHECK(!format || *format == at::MemoryFormat::Contiguous,
              "fakeacc: resize_ wants contiguous memory");
  if (tensor.sizes() == shape) return tensor;
  const std::size_t nbytes =
      (static_cast<std::size_t>(tensor.storage_offset()) + c10::multiply_integers(shape)) *
      tensor.itemsize();
  at::Storage storage = tensor.storage();
  if (nbytes > storage.nbytes()) {
    const c10::DeviceGuard on_device(tensor.device());
    c10::DataPtr larger = device_allocator().allocate(nbytes);
    copy_on_device(storage.data(), larger.get(), storage.nbytes());
    use_on_stream(storage.data(), current_stream());
    storage.set_data_ptr(std::move(larger));
    storage.set_nbytes(nbytes);
  }
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(shape);
  return tensor;
}

at::Tensor copy_from_and_resize(const at::Tensor& source, const at::Tensor& target) {
  resize(target, source.sizes(), std::nullopt);
  return copy_from(source, target, /*non_blocking=*/false);
}

void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  report_last_error();
  count(Counter::kCpuFallback);
  at::native::cpu_fallback(op, stack);
}

at::Tensor& mul(at::Tensor& tensor, const at::Tensor& other) {
  if (multiply(tensor, other)) return tensor;
  using OnCpu = at::native::call_fallback_fn<&run_on_cpu, at::_ops::mul__Tensor>;
  return OnCpu::call(tensor, other);
}

at::Tensor& sub(at::Tensor& tensor, const at::Tensor& other, const at::Scalar& alpha) {
  if (alpha.equal(1) && subtract(tensor, other)) return tensor;
  using OnCpu = at::native::call_fallback_fn<&run_on_cpu, at::_ops::sub__Tensor>;
  return OnCpu::call(tensor, other, alpha);
}

at::Tensor& div(at::Tensor& tensor, const at::Tensor& other) {
  if (divide(tensor, other)) return tensor;
  using OnCpu = at::native::call_fallback_fn<&run_on_cpu, at::_ops::div__Tensor>;
  return OnCpu::call(tensor, other);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("as_strided", as_strided);
  library.impl("view", view);
  library.impl("_reshape_alias", reshape_alias);
  library.impl("view_as_real", at::native::view_as_real);
  library.impl("view_as_complex", at::native::view_as_complex);
  library.impl("set_.source_Storage", set_whole_storage);
  library.impl("set_.source_Storage_storage_offset", set_storage);
  library.impl("resize_", resize);
  library.impl("record_stream", record_stream);
  library.impl("mul_.Tensor", mul);
  library.impl("sub_.Tensor", sub);
  library.impl("div_.Tensor", div);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_from_and_resize);
}

// copy_from() knows of conjugated and negated views: torch's own way would call it for ever.
TORCH_LIBRARY_IMPL(aten, Conjugate, library) {
  library.impl("_copy_from", torch::CppFunction::makeFallthrough());
}
TORCH_LIBRARY_IMPL(aten, Negative, library) {
  library.impl("_copy_from", torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

}  // namespace
}  // namespace fake
