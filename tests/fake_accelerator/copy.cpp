#include "copy.h"

#include <ATen/ExpandUtils.h>
#include <ATen/ops/empty.h>
#include <Python.h>
#include <c10/core/DeviceGuard.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "counters.h"
#include "current.h"
#include "device_memory.h"
#include "device_view.h"
#include "failure.h"
#include "pinned_memory.h"
#include "registered_memory.h"
#include "streams.h"

namespace fake {
namespace {

bool is_on_device(const at::Tensor& tensor) { return tensor.device().type() == kDeviceType; }

// On the current stream of the source's device, which the target's both precedes and follows: as
// CUDA does it.
void copy_device_to_device(const at::Tensor& source, const at::Tensor& target) {
  const bool is_cast = source.scalar_type() != target.scalar_type();
  count(Counter::kD2d);
  if (is_cast) count(Counter::kD2dCast);
  const StreamIndex stream = current_stream(source.device().index());
  const StreamIndex other = current_stream(target.device().index());
  if (stream != other) streams().enqueue_wait(stream, streams().issued(other));
  streams().enqueue(stream, is_cast ? "d2d_cast" : "d2d",
                    [from = DeviceView(source), to = DeviceView(target)] {
                      run_plainly([&] { to.on_host().copy_(from.on_host()); });
                    });
  if (stream != other) streams().enqueue_wait(other, streams().issued(stream));
}

// The allocator keeps the block until the copy has run, if it recognises it.
void record_use_of_pinned(const at::Tensor& host) {
  pinned_allocator().record_event(const_cast<void*>(host.const_data_ptr()),
                                  host.storage().data_ptr().get_context(),
                                  torch_stream(current_stream()));
}

Failure copy_failure;

void copy_host_to_device(const at::Tensor& source, const at::Tensor& target, bool non_blocking) {
  TORCH_CHECK(!copy_failure.happens_now(), "fakeacc: injected failure of a copy");
  const std::size_t nbytes = source.nbytes();
  const auto* from = static_cast<const char*>(source.const_data_ptr());
  char* to = device_view(target.const_data_ptr());
  const bool registered = is_registered(from);
  const bool pinned = registered || is_pinned(from);
  count(Counter::kH2d);
  count(Counter::kH2dBytes, static_cast<std::int64_t>(nbytes));
  if (registered) count(Counter::kH2dRegisteredBytes, static_cast<std::int64_t>(nbytes));
  if (!pinned) count(Counter::kH2dPageable);
  if (PyGILState_Check() != 0) count(Counter::kH2dWithGil);

  const StreamIndex stream = current_stream();
  const std::string what = "h2d " + std::to_string(nbytes);
  if (non_blocking && !pinned) {
    // The driver takes a copy of pageable memory before it returns.
    auto snapshot = std::make_shared<std::string>(from, nbytes);
    streams().enqueue(stream, what,
                      [to, snapshot] { std::memcpy(to, snapshot->data(), snapshot->size()); });
    return;
  }
  const auto copy = [to, from, nbytes, registered] {
    if (registered && !is_registered(from)) {
      std::memset(to, kPinnedPoison, nbytes);
    } else {
      std::memcpy(to, from, nbytes);
    }
  };
  if (!non_blocking) return streams().run_and_wait(stream, what, copy);
  streams().enqueue(stream, what, copy);
  if (!registered) record_use_of_pinned(source);
}

void copy_device_to_host(const at::Tensor& source, const at::Tensor& target, bool non_blocking) {
  const std::size_t nbytes = source.nbytes();
  const char* from = device_view(source.const_data_ptr());
  auto* to = static_cast<char*>(target.data_ptr());
  count(Counter::kD2h);
  const StreamIndex stream = current_stream();
  const std::string what = "d2h " + std::to_string(nbytes);
  const auto copy = [to, from, nbytes] { std::memcpy(to, from, nbytes); };
  // To pageable memory a copy is always awaited.
  if (!non_blocking || !is_pinned(to)) return streams().run_and_wait(stream, what, copy);
  streams().enqueue(stream, what, copy);
  record_use_of_pinned(target);
}

// A non-blocking copy is cast and laid out on the device, a blocking one on the host: as CUDA does.
void copy_to_other_layout(const at::Tensor& source, const at::Tensor& target, bool non_blocking) {
  if (is_on_device(target)) {
    at::Tensor sent = source.resolve_conj().resolve_neg().expand_as(target);
    if (!non_blocking) sent = sent.to(target.scalar_type());
    sent = sent.contiguous();
    const at::Tensor arrived = at::empty(sent.sizes(), sent.options().device(target.device()));
    copy_host_to_device(sent, arrived, non_blocking);
    copy_device_to_device(arrived, target);
    if (!non_blocking) streams().wait(streams().issued(current_stream()));
  } else {
    const at::Tensor sent = source.resolve_conj().resolve_neg().contiguous();
    const at::Tensor arrived = at::empty(sent.sizes(), sent.options().device(at::kCPU));
    copy_device_to_host(sent, arrived, /*non_blocking=*/false);
    target.copy_(arrived);
  }
}

// Are the bytes all there is to it?
bool is_plain(const at::Tensor& source, const at::Tensor& target) {
  return source.scalar_type() == target.scalar_type() && source.sizes() == target.sizes() &&
         source.is_contiguous() && target.is_contiguous() && source.is_conj() == target.is_conj() &&
         source.is_neg() == target.is_neg();
}

}  // namespace

at::Tensor copy_from(const at::Tensor& source, const at::Tensor& target, bool non_blocking) {
  TORCH_CHECK(at::is_expandable_to(source.sizes(), target.sizes()), "fakeacc: cannot copy shape ",
              source.sizes(), " to shape ", target.sizes());
  if (target.numel() == 0) return target;
  const c10::DeviceGuard on_device(is_on_device(target) ? target.device() : source.device());
  if (is_on_device(source) && is_on_device(target)) {
    copy_device_to_device(source, target);
  } else if (!is_plain(source, target)) {
    copy_to_other_layout(source, target, non_blocking);
  } else if (is_on_device(target)) {
    copy_host_to_device(source, target, non_blocking);
  } else {
    copy_device_to_host(source, target, non_blocking);
  }
  return target;
}

void copy_on_device(const void* from, void* to, std::size_t nbytes) {
  count(Counter::kD2d);
  streams().enqueue(current_stream(), "d2d", [from, to, nbytes] {
    std::memcpy(device_view(to), device_view(from), nbytes);
  });
}

void fail_copy(std::int64_t after) { copy_failure.arm(after); }

}  // namespace fake
