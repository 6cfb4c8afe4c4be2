#include "batch_on_device.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "batch_jobs.h"
#include "build.h"
#include "output.h"
#include "slabs.h"
#include "staging.h"
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

// A batch, and how it is sent.
class Shipment {
 public:
  explicit Shipment(const BatchToSend& batch)
      : batch_(batch),
        strides_(output_strides(batch.layout.shape, batch.memory_format)),
        numel_(checked_nbytes(batch.layout.shape, batch.dtype) / c10::elementSize(batch.dtype)),
        sent_(wire_dtype(batch.sources, batch.layout, batch.padding, batch.dtype, numel_)),
        padding_(sent_ == batch.dtype ? batch.padding : Padding(0, sent_)) {}

  [[nodiscard]] std::size_t nbytes() const { return numel_ * c10::elementSize(sent_); }

  // May it lie beside others, as it will be? Then it is one run of bytes, whose slots follow each
  // other.
  [[nodiscard]] bool can_be_packed(std::size_t own_from) const {
    return is_contiguous() && batch_.layout.dim == 0 && !batch_.layout.has_padding &&
           sent_ == batch_.dtype && numel_ > 0 && nbytes() < own_from;
  }

  // Adds it to a freight that it shares, the first one, and clears what is left to the next slot.
  void pack(Freight& shared) {
    Wire& wire = shared.wire;
    is_packed_ = true;
    offset_ = wire.nbytes;
    jobs_at(offset_, wire).add_all([] { return false; });
    static constexpr char kZero = 0;
    const std::size_t end = offset_ + nbytes();
    wire.nbytes = slot_aligned(end);
    const auto gap = static_cast<std::int64_t>(wire.nbytes - end);
    wire.jobs.add_repeated(&kZero, c10::kByte, gap, Wire::at(end));
  }

  [[nodiscard]] bool is_packed() const { return is_packed_; }

  // Adds a freight of its own, cast on the device where it is not sent as what it will be.
  void send_alone(std::vector<Freight>& freights) {
    freight_ = freights.size();
    freights.push_back(own_freight());
  }

  // The batch, in memory that has arrived.
  [[nodiscard]] at::Tensor values(ImplArena& arena, const std::vector<Freight>& freights) const {
    at::Tensor values = build_view(arena, freights[freight_].sections[0].result, batch_.dtype,
                                   offset_, batch_.layout.shape);
    values.unsafeGetTensorImpl()->set_sizes_and_strides(batch_.layout.shape, strides_);
    return values;
  }

 private:
  [[nodiscard]] Freight own_freight() const {
    Freight freight;
    Wire& wire = freight.wire;
    wire.nbytes = nbytes();
    freight.sections.push_back(
        {.nbytes = wire.nbytes, .wire_dtype = sent_, .dtype = batch_.dtype, .is_own = true});
    if (numel_ == 0) return freight;
    BatchJobs jobs = jobs_at(0, wire);
    std::vector<std::size_t> ends;
    jobs.add_all([&] {
      if (batch_.layout.has_padding) ends.push_back(wire.jobs.nbytes());
      return false;
    });
    set_cuts(wire, batch_.layout, strides_, is_contiguous(), jobs.rows(), std::move(ends));
    return freight;
  }

  [[nodiscard]] bool is_contiguous() const {
    return batch_.memory_format == c10::MemoryFormat::Contiguous;
  }

  [[nodiscard]] BatchJobs jobs_at(std::size_t offset, Wire& wire) const {
    Shape byte_strides(strides_.begin(), strides_.end());
    for (std::int64_t& stride : byte_strides) {
      stride *= static_cast<std::int64_t>(c10::elementSize(sent_));
    }
    return {batch_.sources,   batch_.layout, padding_, sent_,
            Wire::at(offset), byte_strides,  wire.jobs};
  }

  const BatchToSend& batch_;
  const Shape strides_;
  const std::size_t numel_;
  const c10::ScalarType sent_;
  const Padding padding_;
  bool is_packed_ = false;
  std::size_t freight_ = 0;
  std::size_t offset_ = 0;  // bytes
};

// Puts those that are small into the first freight, side by side, if there are several.
void pack_small(std::vector<Shipment>& shipments, std::vector<Freight>& freights) {
  const std::size_t own_from = staging_settings().own_storage_bytes;
  const auto is_small = [own_from](const Shipment& s) { return s.can_be_packed(own_from); };
  if (std::count_if(shipments.begin(), shipments.end(), is_small) < 2) return;
  Freight shared;
  for (Shipment& shipment : shipments) {
    if (is_small(shipment)) shipment.pack(shared);
  }
  shared.sections.push_back(
      {.nbytes = shared.wire.nbytes, .wire_dtype = c10::kByte, .dtype = c10::kByte});
  freights.push_back(std::move(shared));
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

std::vector<SentBatch> send_batches(const std::vector<BatchToSend>& batches,
                                    const TransferOptions& device, std::optional<int> threads) {
  std::vector<Shipment> shipments;
  shipments.reserve(batches.size());  // jobs point into them
  for (const BatchToSend& batch : batches) shipments.emplace_back(batch);
  std::vector<Freight> freights;
  pack_small(shipments, freights);
  for (Shipment& shipment : shipments) {
    if (!shipment.is_packed()) shipment.send_alone(freights);
  }
  const std::size_t first_of_extents = freights.size();
  for (const BatchToSend& batch : batches) {
    if (batch.extents.defined()) freights.push_back(tensor_freight(batch.extents));
  }
  send(freights, device, threads);

  ImplArena arena(freights.size() + batches.size());
  std::vector<SentBatch> sent;
  auto extents = freights.begin() + static_cast<std::ptrdiff_t>(first_of_extents);
  for (std::size_t b = 0; b < batches.size(); ++b) {
    const at::Tensor& on_host = batches[b].extents;
    sent.push_back({shipments[b].values(arena, freights), {}});
    if (!on_host.defined()) continue;
    sent[b].extents =
        build_view(arena, extents->sections[0].result, on_host.scalar_type(), 0, on_host.sizes());
    ++extents;
  }
  return sent;
}

}  // namespace tensorlift
