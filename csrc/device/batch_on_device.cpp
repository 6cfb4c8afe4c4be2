#include "device/batch_on_device.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "copy/batch_jobs.h"
#include "memory/build.h"
#include "plan/packed_bytes.h"
#include "plan/slabs.h"

namespace tensorlift {
namespace {

// The dtype to send: that of the sources, where the device had better cast.
c10::ScalarType packed_dtype(const BatchPlan& plan) {
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

// Says where the packed bytes may be cut; all jobs are added.
void set_cuts(PackedBytes& packed, const Layout& layout, c10::IntArrayRef strides,
              bool is_contiguous, std::int64_t rows, std::vector<std::size_t>&& ends_of_arrays) {
  if (is_contiguous && rows > 1) {
    packed.rows = rows;
  } else if (!has_slots_in_order(layout, strides)) {
    packed.cut_points = {packed.jobs.nbytes()};
  } else if (layout.has_padding) {
    packed.cut_points = std::move(ends_of_arrays);
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
class BatchTransfer {
 public:
  explicit BatchTransfer(const BatchToSend& batch)
      : plan_(batch.plan),
        extents_(batch.extents),
        sent_(packed_dtype(plan_)),
        padding_(sent_ == plan_.dtype ? plan_.padding : Padding(0, sent_)) {}

  // Adds an item for the batch and one for the extents: each has memory of its own on the device,
  // and several go into one buffer on the way there.
  void add_to(std::vector<TransferItem>& items) {
    first_item_ = items.size();
    items.push_back(batch_item());
    if (extents_.defined()) items.push_back(extents_item());
  }

  // What has arrived.
  [[nodiscard]] SentBatch result(TensorArena& arena, const std::vector<TransferItem>& items) const {
    const auto arrived = [&](std::size_t item, c10::ScalarType dtype, c10::IntArrayRef shape) {
      return build_view(arena, items[item].sections[0].result, dtype, /*offset=*/0, shape);
    };
    SentBatch sent{arrived(first_item_, plan_.dtype, plan_.layout.shape), {}};
    sent.values.unsafeGetTensorImpl()->set_sizes_and_strides(plan_.layout.shape, plan_.strides());
    if (extents_.defined()) {
      sent.extents = arrived(first_item_ + 1, extents_.scalar_type(), extents_.sizes());
    }
    return sent;
  }

 private:
  [[nodiscard]] BatchJobs jobs_on(PackedBytes& packed) const {
    const auto itemsize = static_cast<std::int64_t>(c10::elementSize(sent_));
    Shape byte_strides;
    for (const std::int64_t stride : plan_.strides()) byte_strides.push_back(stride * itemsize);
    return {plan_.sources,      plan_.layout, padding_,   sent_,
            PackedBytes::at(0), byte_strides, packed.jobs};
  }

  // Cast on the device where it is not sent as what it will be.
  [[nodiscard]] TransferItem batch_item() const {
    TransferItem item;
    PackedBytes& packed = item.packed;
    packed.nbytes = plan_.numel() * c10::elementSize(sent_);
    item.sections.push_back(
        {.nbytes = packed.nbytes, .packed_dtype = sent_, .dtype = plan_.dtype, .is_own = true});
    if (packed.nbytes == 0) return item;
    BatchJobs jobs = jobs_on(packed);
    std::vector<std::size_t> ends;
    jobs.add_all([&] {
      if (plan_.layout.has_padding) ends.push_back(packed.jobs.nbytes());
      return false;
    });
    set_cuts(packed, plan_.layout, plan_.strides(), plan_.is_contiguous(), jobs.rows(),
             std::move(ends));
    return item;
  }

  [[nodiscard]] TransferItem extents_item() const {
    TransferItem item;
    item.packed.nbytes = extents_.nbytes();
    add_tensor(extents_, PackedBytes::at(0), item.packed.jobs);
    const c10::ScalarType dtype = extents_.scalar_type();
    item.sections.push_back(
        {.nbytes = extents_.nbytes(), .packed_dtype = dtype, .dtype = dtype, .is_own = true});
    return item;
  }

  const BatchPlan& plan_;
  const at::Tensor& extents_;
  const c10::ScalarType sent_;
  const Padding padding_;
  std::size_t first_item_ = 0;
};

}  // namespace

std::vector<SentBatch> send_batches(const std::vector<BatchToSend>& batches,
                                    const TransferOptions& device, std::optional<int> threads) {
  std::vector<BatchTransfer> transfers;
  transfers.reserve(batches.size());  // jobs point into them
  std::vector<TransferItem> items;
  for (const BatchToSend& batch : batches) transfers.emplace_back(batch).add_to(items);
  send(items, device, threads);

  TensorArena arena(2 * batches.size());
  std::vector<SentBatch> sent;
  for (const BatchTransfer& transfer : transfers) sent.push_back(transfer.result(arena, items));
  return sent;
}

}  // namespace tensorlift
