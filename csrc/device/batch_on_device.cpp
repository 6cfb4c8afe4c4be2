#include "device/batch_on_device.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "copy/batch_jobs.h"
#include "memory/build.h"
#include "plan/slabs.h"
#include "plan/wire.h"

namespace tensorlift {
namespace {

// The dtype to send: that of the sources, where the device had better cast.
c10::ScalarType wire_dtype(const BatchPlan& plan) {
  const c10::ScalarType dtype = plan.dtype;
  const c10::ScalarType twin = plan.sources.forms()[0].element.twin;
  for (const auto& form : plan.sources.forms()) {
    if (form.element.twin != twin) return dtype;
  }
  if (!is_for_the_device(twin, dtype)) return dtype;
  if (plan.layout.has_padding && !plan.padding.is_zero())
    return dtype;  // may be no number of theirs
  const std::size_t saved = c10::elementSize(dtype) - c10::elementSize(twin);
  return plan.numel() * saved >= kCastOnDeviceFrom ? twin : dtype;
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

// Adds jobs that write all of a contiguous tensor.
void add_tensor(const at::Tensor& tensor, char* slot, GatherJobs& jobs) {
  const c10::ScalarType dtype = tensor.scalar_type();
  const std::int64_t numel = tensor.numel();
  const auto itemsize = static_cast<std::int64_t>(tensor.itemsize());
  ArrayView view;
  view.data = const_cast<void*>(tensor.const_data_ptr());  // only read
  view.shape = &numel;
  view.strides = &itemsize;
  view.ndim = 1;
  view.element = {dtype, ElementKind::kTwin, static_cast<std::uint8_t>(itemsize)};
  jobs.add(view, numel, dtype, slot);
}

// A batch with its extents, and how they are sent.
class Shipment {
 public:
  explicit Shipment(const BatchToSend& batch)
      : plan_(batch.plan),
        extents_(batch.extents),
        sent_(wire_dtype(plan_)),
        padding_(sent_ == plan_.dtype ? plan_.padding : Padding(0, sent_)) {}

  // Adds a freight for the batch and one for the extents: each has memory of its own on the device,
  // and several go into one buffer on the way there.
  void add_to(std::vector<Freight>& freights) {
    first_freight_ = freights.size();
    freights.push_back(batch_freight());
    if (extents_.defined()) freights.push_back(extents_freight());
  }

  // What has arrived.
  [[nodiscard]] SentBatch result(ImplArena& arena, const std::vector<Freight>& freights) const {
    const auto arrived = [&](std::size_t freight, c10::ScalarType dtype, c10::IntArrayRef shape) {
      return build_view(arena, freights[freight].sections[0].result, dtype, /*offset=*/0, shape);
    };
    SentBatch sent{arrived(first_freight_, plan_.dtype, plan_.layout.shape), {}};
    sent.values.unsafeGetTensorImpl()->set_sizes_and_strides(plan_.layout.shape, plan_.strides());
    if (extents_.defined()) {
      sent.extents = arrived(first_freight_ + 1, extents_.scalar_type(), extents_.sizes());
    }
    return sent;
  }

 private:
  [[nodiscard]] BatchJobs jobs_on(Wire& wire) const {
    const auto itemsize = static_cast<std::int64_t>(c10::elementSize(sent_));
    Shape byte_strides;
    for (const std::int64_t stride : plan_.strides()) byte_strides.push_back(stride * itemsize);
    return {plan_.sources, plan_.layout, padding_, sent_, Wire::at(0), byte_strides, wire.jobs};
  }

  // Cast on the device where it is not sent as what it will be.
  [[nodiscard]] Freight batch_freight() const {
    Freight freight;
    Wire& wire = freight.wire;
    wire.nbytes = plan_.numel() * c10::elementSize(sent_);
    freight.sections.push_back(
        {.nbytes = wire.nbytes, .wire_dtype = sent_, .dtype = plan_.dtype, .is_own = true});
    if (wire.nbytes == 0) return freight;
    BatchJobs jobs = jobs_on(wire);
    std::vector<std::size_t> ends;
    jobs.add_all([&] {
      if (plan_.layout.has_padding) ends.push_back(wire.jobs.nbytes());
      return false;
    });
    set_cuts(wire, plan_.layout, plan_.strides(), plan_.is_contiguous(), jobs.rows(),
             std::move(ends));
    return freight;
  }

  [[nodiscard]] Freight extents_freight() const {
    Freight freight;
    freight.wire.nbytes = extents_.nbytes();
    add_tensor(extents_, Wire::at(0), freight.wire.jobs);
    const c10::ScalarType dtype = extents_.scalar_type();
    freight.sections.push_back(
        {.nbytes = extents_.nbytes(), .wire_dtype = dtype, .dtype = dtype, .is_own = true});
    return freight;
  }

  const BatchPlan& plan_;
  const at::Tensor& extents_;
  const c10::ScalarType sent_;
  const Padding padding_;
  std::size_t first_freight_ = 0;
};

}  // namespace

std::vector<SentBatch> send_batches(const std::vector<BatchToSend>& batches,
                                    const TransferOptions& device, std::optional<int> threads) {
  std::vector<Shipment> shipments;
  shipments.reserve(batches.size());  // jobs point into them
  std::vector<Freight> freights;
  for (const BatchToSend& batch : batches) shipments.emplace_back(batch).add_to(freights);
  send(freights, device, threads);

  ImplArena arena(2 * batches.size());
  std::vector<SentBatch> sent;
  for (const Shipment& shipment : shipments) sent.push_back(shipment.result(arena, freights));
  return sent;
}

}  // namespace tensorlift
