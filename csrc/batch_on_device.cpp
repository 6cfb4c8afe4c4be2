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

at::Tensor send_alone(const Wire& wire, c10::ScalarType from, c10::ScalarType to,
                      const TransferOptions& device, std::optional<int> threads) {
  std::vector<Section> sections{
      {0, wire.nbytes, from, to, /*is_own=*/true, /*is_on_wire=*/true, {}, {}}};
  send(wire, sections, {}, device, threads);
  return sections[0].result;
}

}  // namespace

at::Tensor send_batch(const Sources& sources, const Layout& layout, const Padding& padding,
                      c10::ScalarType dtype, c10::MemoryFormat memory_format,
                      const TransferOptions& device, std::optional<int> threads) {
  const Shape strides = output_strides(layout.shape, memory_format);
  const std::size_t numel = checked_nbytes(layout.shape, dtype) / c10::elementSize(dtype);
  const c10::ScalarType sent = wire_dtype(sources, layout, padding, dtype, numel);
  const auto itemsize = static_cast<std::int64_t>(c10::elementSize(sent));
  Shape byte_strides = strides;
  for (std::int64_t& stride : byte_strides) stride *= itemsize;

  Wire wire;
  wire.nbytes = numel * c10::elementSize(sent);
  const Padding sent_padding = sent == dtype ? padding : Padding(0, sent);
  if (numel > 0) {
    BatchJobs batch(sources, layout, sent_padding, sent, Wire::at(0), byte_strides, wire.jobs);
    std::vector<std::size_t> ends;
    batch.add_all([&] {
      if (layout.has_padding) ends.push_back(wire.jobs.nbytes());
      return false;
    });
    set_cuts(wire, layout, strides, memory_format == c10::MemoryFormat::Contiguous, batch.rows(),
             std::move(ends));
  }
  ImplArena arena(1);
  at::Tensor values =
      build_view(arena, send_alone(wire, sent, dtype, device, threads), dtype, 0, layout.shape);
  values.unsafeGetTensorImpl()->set_sizes_and_strides(layout.shape, strides);
  return values;
}

at::Tensor send_tensor(const at::Tensor& tensor, const TransferOptions& device) {
  const c10::ScalarType dtype = tensor.scalar_type();
  const Shape shape(tensor.sizes().begin(), tensor.sizes().end());
  Shape strides;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) {
    strides.push_back(tensor.stride(d) * static_cast<std::int64_t>(tensor.itemsize()));
  }
  ArrayView view;
  view.data = const_cast<void*>(tensor.const_data_ptr());  // only read
  view.shape = shape.data();
  view.strides = strides.data();
  view.ndim = static_cast<int>(shape.size());
  view.element = {dtype, ElementKind::kTwin, static_cast<std::uint8_t>(tensor.itemsize())};
  Wire wire;
  wire.nbytes = tensor.nbytes();
  wire.jobs.add(view, tensor.numel(), dtype, Wire::at(0));
  ImplArena arena(1);
  return build_view(arena, send_alone(wire, dtype, dtype, device, 1), dtype, 0, shape);
}

}  // namespace tensorlift
