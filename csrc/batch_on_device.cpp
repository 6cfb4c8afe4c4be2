#include "batch_on_device.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "batch_jobs.h"
#include "build.h"
#include "output.h"
#include "slabs.h"
#include "wire.h"

namespace tensorlift {
namespace {

// The dtype to send: that of the sources, where the device had better cast.
c10::ScalarType wire_dtype(const Sources& sources, const Layout& layout, const Padding& padding,
                           c10::ScalarType dtype, std::size_t numel) {
  const c10::ScalarType twin = sources.forms()[0].element.twin;
  for (const auto& form : sources.forms()) {
    if (form.element.twin != twin) return dtype;
  }
  if (!is_for_the_device(twin, dtype)) return dtype;
  if (layout.has_padding && !padding.is_zero()) return dtype;  // may be no number of theirs
  const std::size_t saved = c10::elementSize(dtype) - c10::elementSize(twin);
  return numel * saved >= kCastOnDeviceFrom ? twin : dtype;
}

// Do the slots lie one after another in memory, each in one piece?
bool has_slots_in_order(const Layout& layout, c10::IntArrayRef strides) {
  const auto dim = static_cast<std::size_t>(layout.dim);
  for (std::size_t d = 0; d < strides.size(); ++d) {
    if (layout.shape[d] > 1 && strides[d] > strides[dim]) return false;
  }
  return true;
}

// Says where the wire may be cut; all jobs are added.
void set_cuts(Wire& wire, const Layout& layout, c10::IntArrayRef strides, bool is_contiguous,
              std::int64_t rows, std::vector<std::size_t>&& ends_of_arrays) {
  if (is_contiguous && rows > 1) {
    wire.rows = rows;
  } else if (!has_slots_in_order(layout, strides)) {
    wire.work_ends = {wire.jobs.nbytes()};
  } else if (layout.has_padding) {
    wire.work_ends = std::move(ends_of_arrays);
  }
}

// All of a batch, cast on the device where `sent` is not `dtype`.
Freight batch_freight(const Sources& sources, const Layout& layout, const Padding& padding,
                      c10::ScalarType sent, c10::ScalarType dtype, c10::IntArrayRef strides,
                      bool is_contiguous, std::size_t numel) {
  const std::size_t itemsize = c10::elementSize(sent);
  Shape byte_strides(strides.begin(), strides.end());
  for (std::int64_t& stride : byte_strides) stride *= static_cast<std::int64_t>(itemsize);
  Freight freight;
  Wire& wire = freight.wire;
  wire.nbytes = numel * itemsize;
  freight.sections.push_back(
      {.nbytes = wire.nbytes, .wire_dtype = sent, .dtype = dtype, .is_own = true});
  if (numel == 0) return freight;
  BatchJobs batch(sources, layout, padding, sent, Wire::at(0), byte_strides, wire.jobs);
  std::vector<std::size_t> ends;
  batch.add_all([&] {
    if (layout.has_padding) ends.push_back(wire.jobs.nbytes());
    return false;
  });
  set_cuts(wire, layout, strides, is_contiguous, batch.rows(), std::move(ends));
  return freight;
}

// All of a contiguous tensor.
Freight tensor_freight(const at::Tensor& tensor) {
  const c10::ScalarType dtype = tensor.scalar_type();
  const std::int64_t numel = tensor.numel();
  const auto itemsize = static_cast<std::int64_t>(tensor.itemsize());
  ArrayView view;
  view.data = const_cast<void*>(tensor.const_data_ptr());  // only read
  view.shape = &numel;
  view.strides = &itemsize;
  view.ndim = 1;
  view.element = {dtype, ElementKind::kTwin, static_cast<std::uint8_t>(itemsize)};
  Freight freight;
  freight.wire.nbytes = tensor.nbytes();
  freight.wire.jobs.add(view, numel, dtype, Wire::at(0));
  freight.sections.push_back(
      {.nbytes = tensor.nbytes(), .wire_dtype = dtype, .dtype = dtype, .is_own = true});
  return freight;
}

}  // namespace

std::pair<at::Tensor, at::Tensor> send_batch(const Sources& sources, const Layout& layout,
                                             const Padding& padding, c10::ScalarType dtype,
                                             c10::MemoryFormat memory_format,
                                             const at::Tensor& extents,
                                             const TransferOptions& device,
                                             std::optional<int> threads) {
  const Shape strides = output_strides(layout.shape, memory_format);
  const std::size_t numel = checked_nbytes(layout.shape, dtype) / c10::elementSize(dtype);
  const c10::ScalarType sent = wire_dtype(sources, layout, padding, dtype, numel);
  const Padding sent_padding = sent == dtype ? padding : Padding(0, sent);
  std::vector<Freight> freights;
  freights.push_back(batch_freight(sources, layout, sent_padding, sent, dtype, strides,
                                   memory_format == c10::MemoryFormat::Contiguous, numel));
  if (extents.defined()) freights.push_back(tensor_freight(extents));
  send(freights, device, threads);

  ImplArena arena(2);
  at::Tensor values = build_view(arena, freights[0].sections[0].result, dtype, 0, layout.shape);
  values.unsafeGetTensorImpl()->set_sizes_and_strides(layout.shape, strides);
  if (!extents.defined()) return {values, {}};
  return {values, build_view(arena, freights[1].sections[0].result, extents.scalar_type(), 0,
                             extents.sizes())};
}

}  // namespace tensorlift
