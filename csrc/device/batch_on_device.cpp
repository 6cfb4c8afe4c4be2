#include "device/batch_on_device.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "copy/batch_jobs.h"
#include "device/normalize_on_device.h"
#include "memory/build.h"
#include "plan/packed_bytes.h"
#include "plan/slabs.h"

namespace tensorlift {
namespace {

// The dtype to send: that of the sources, where the device had better cast.
c10::ScalarType packed_dtype(const BatchPlan& plan) {
  const c10::ScalarType dtype = plan.dtype;
  const c10::ScalarType source = plan.sources.signatures()[0].element.dtype;
  for (const auto& signature : plan.sources.signatures()) {
    if (signature.element.dtype != source) return dtype;
  }
  if (!is_for_the_device(source, dtype)) return dtype;
  if (plan.layout.has_padding && plan.normalization) return dtype;  // which pads what is normalised
  if (plan.layout.has_padding && !plan.padding.is_zero())
    return dtype;  // may be no number of theirs
  const std::size_t saved = c10::elementSize(dtype) - c10::elementSize(source);
  return plan.numel() * saved >= kCastOnDeviceFrom ? source : dtype;
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

// Numbers that are sent as they are: contiguous, of the host.
TransferItem item_of(const void* numbers, c10::ScalarType dtype, std::size_t nbytes) {
  const auto itemsize = static_cast<std::int64_t>(c10::elementSize(dtype));
  const std::int64_t numel = static_cast<std::int64_t>(nbytes) / itemsize;
  ArrayView view;
  view.data = const_cast<void*>(numbers);  // only read
  view.shape = &numel;
  view.strides = &itemsize;
  view.ndim = 1;
  view.element = {dtype, ElementKind::kNumber, static_cast<std::uint8_t>(itemsize)};
  TransferItem item;
  item.packed.nbytes = nbytes;
  item.packed.jobs.add(view, numel, dtype, PackedBytes::at(0));
  item.sections.push_back(
      {.nbytes = nbytes, .packed_dtype = dtype, .dtype = dtype, .is_own = true});
  return item;
}

// Do the elements lie as the plan has them?
bool lies_like(const at::Tensor& tensor, c10::IntArrayRef strides) {
  for (std::int64_t d = 0; d < tensor.dim(); ++d) {
    const std::int64_t stride = strides[static_cast<std::size_t>(d)];
    if (tensor.size(d) > 1 && tensor.stride(d) != stride) return false;
  }
  return true;
}

at::Tensor bytes_of(TensorArena& arena, const at::Tensor& tensor) {
  const auto offset = static_cast<std::size_t>(tensor.storage_offset()) * tensor.itemsize();
  return build_view(arena, tensor, c10::kByte, offset,
                    {static_cast<std::int64_t>(tensor.nbytes())});
}

// A batch with its sizes or offsets, and how they are sent.
class BatchTransfer {
 public:
  explicit BatchTransfer(const BatchToSend& batch)
      : plan_(batch.plan),
        sizes_(batch.sizes),
        out_(batch.out),
        sizes_out_(batch.extents_out),
        sent_(packed_dtype(plan_)),
        padding_(sent_ == plan_.dtype ? plan_.padding : Padding(0, sent_)) {
    if (is_normalized_there()) numbers_ = plan_.normalization->numbers();
  }

  // Adds an item for the batch, one for its sizes or offsets and one for what normalises the batch:
  // each has memory of its own on the device, and several go into one buffer on the way there.
  void add_to(std::vector<TransferItem>& items) {
    first_item_ = items.size();
    items.push_back(batch_item());
    if (out_.defined()) {
      write_to(out_, lies_like(out_, plan_.strides()), items.back().sections[0],
               [this](TensorArena& arena, const at::Tensor& bytes) {
                 return in_shape_of_batch(arena, bytes, plan_.dtype);
               });
    }
    if (sizes_.defined()) {
      items.push_back(item_of(sizes_.const_data_ptr(), sizes_.scalar_type(), sizes_.nbytes()));
      if (sizes_out_.defined()) {
        write_to(sizes_out_, sizes_out_.is_contiguous(), items.back().sections[0],
                 [this](TensorArena& arena, const at::Tensor& bytes) {
                   return build_view(arena, bytes, sizes_.scalar_type(), 0, sizes_.sizes());
                 });
      }
    }
    if (!is_normalized_there()) return;
    items.push_back(item_of(numbers_.data(), plan_.normalization->computed_in(), numbers_.size()));
    items[first_item_].sections[0].convert = [this, &items,
                                              numbers = items.size() - 1](const Section& batch) {
      normalize(batch, items[numbers].sections[0].result);
    };
  }

  [[nodiscard]] bool is_converted_there() const { return sent_ != plan_.dtype; }

  // What has arrived.
  [[nodiscard]] SentBatch result(TensorArena& arena, const std::vector<TransferItem>& items) const {
    SentBatch sent = new_result(arena, items);
    if (out_.defined()) sent.values = out_;
    if (sizes_out_.defined()) sent.sizes = sizes_out_;
    return sent;
  }

 private:
  [[nodiscard]] SentBatch new_result(TensorArena& arena,
                                     const std::vector<TransferItem>& items) const {
    SentBatch sent{in_shape_of_batch(arena, items[first_item_].sections[0].result, plan_.dtype),
                   {}};
    if (sizes_.defined()) {
      sent.sizes = build_view(arena, items[first_item_ + 1].sections[0].result,
                              sizes_.scalar_type(), /*offset=*/0, sizes_.sizes());
    }
    return sent;
  }

  // Into a tensor of the caller's: at once, or in the end where its elements lie otherwise.
  template <typename InShape>
  static void write_to(const at::Tensor& out, bool is_direct, Section& section, InShape in_shape) {
    if (is_direct) {
      TensorArena arena(1);
      section.result = bytes_of(arena, out);
      section.is_callers = true;
      return;
    }
    section.finished = out;
    section.finish = [out, in_shape](const Section& sent) {
      TensorArena arena(1);
      out.copy_(in_shape(arena, sent.result), /*non_blocking=*/true);
    };
  }

  [[nodiscard]] BatchJobs jobs_on(PackedBytes& packed) const {
    const auto itemsize = static_cast<std::int64_t>(c10::elementSize(sent_));
    Shape byte_strides;
    for (const std::int64_t stride : plan_.strides()) byte_strides.push_back(stride * itemsize);
    return {plan_.sources, plan_.layout,
            padding_,      is_normalized_there() ? nullptr : plan_.normalization.get(),
            sent_,         PackedBytes::at(0),
            byte_strides,  packed.jobs};
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

  // Else it is normalised on its way into the staging buffer.
  [[nodiscard]] bool is_normalized_there() const {
    return plan_.normalization && sent_ != plan_.dtype;
  }

  void normalize(const Section& batch, const at::Tensor& numbers) const {
    TensorArena arena(3);
    const auto channel_dim = static_cast<std::size_t>(plan_.layout.dim == 0 ? 1 : 0);
    Shape shape{3};
    shape.resize(plan_.layout.shape.size() + 1, 1);
    if (plan_.normalization->channels() > 1)
      shape[1 + channel_dim] = plan_.normalization->channels();
    normalize_on_device(in_shape_of_batch(arena, batch.sent, sent_),
                        build_view(arena, numbers, plan_.normalization->computed_in(), 0, shape),
                        in_shape_of_batch(arena, batch.result, plan_.dtype));
  }

  [[nodiscard]] at::Tensor in_shape_of_batch(TensorArena& arena, const at::Tensor& bytes,
                                             c10::ScalarType dtype) const {
    at::Tensor batch = build_view(arena, bytes, dtype, /*offset=*/0, plan_.layout.shape);
    batch.unsafeGetTensorImpl()->set_sizes_and_strides(plan_.layout.shape, plan_.strides());
    return batch;
  }

  const BatchPlan& plan_;
  const at::Tensor& sizes_;
  const at::Tensor& out_;
  const at::Tensor& sizes_out_;
  const c10::ScalarType sent_;
  const Padding padding_;
  std::vector<char> numbers_;
  std::size_t first_item_ = 0;
};

// The items keep pointers to them.
std::vector<BatchTransfer> transfers_of(const std::vector<BatchToSend>& batches,
                                        std::vector<TransferItem>& items) {
  std::vector<BatchTransfer> transfers;
  transfers.reserve(batches.size());
  for (const BatchToSend& batch : batches) transfers.emplace_back(batch).add_to(items);
  return transfers;
}

}  // namespace

std::vector<SentBatch> send_batches(const std::vector<BatchToSend>& batches,
                                    const TransferOptions& device, std::optional<int> threads) {
  std::vector<TransferItem> items;
  const std::vector<BatchTransfer> transfers = transfers_of(batches, items);
  send(items, device, threads);

  TensorArena arena(2 * batches.size());
  std::vector<SentBatch> sent;
  for (const BatchTransfer& transfer : transfers) sent.push_back(transfer.result(arena, items));
  return sent;
}

BatchRoute route_of(const std::vector<BatchToSend>& batches) {
  std::vector<TransferItem> items;
  const std::vector<BatchTransfer> transfers = transfers_of(batches, items);
  return {count_copies(items), transfers[0].is_converted_there()};
}

}  // namespace tensorlift
