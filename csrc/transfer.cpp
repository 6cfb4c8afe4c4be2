#include "transfer.h"

#include <ATen/core/CachingHostAllocator.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <torch/version.h>

#include <algorithm>
#include <exception>

#include "build.h"
#include "faults.h"
#include "staging.h"

namespace tensorlift {
namespace {

using DeviceImpl = c10::impl::VirtualGuardImpl;

// One send() in progress.
class Transfer {
 public:
  explicit Transfer(const TransferOptions& options)
      : options_(options),
        impl_(options.device.type()),
        guard_(options.device),
        consumer_(impl_.getStream(is_seeded(Fault::kStreamOfOtherDevice) ? guard_.original_device()
                                                                         : options.device)),
        copies_(options.stream ? *options.stream : staging_stream(options.device)) {}

  void allocate(Section& section) const {
    std::optional<c10::StreamGuard> on_copies;
    if (!is_seeded(Fault::kMemoryOfConsumer)) on_copies.emplace(copies_);
    section.sent = bytes_on_device(section.nbytes);
    section.result = section.dtype == section.wire_dtype
                         ? section.sent
                         : bytes_on_device(section.nbytes / c10::elementSize(section.wire_dtype) *
                                           c10::elementSize(section.dtype));
  }

  // Window [begin, end) of the wire, written to `memory`, to the sections that it belongs to.
  void copy(const char* memory, std::size_t begin, std::size_t end,
            const std::vector<Section>& sections) {
    const c10::StreamGuard on_copies(copies_);
    while (next_ < sections.size() && section_end(sections[next_]) <= begin) ++next_;
    for (std::size_t s = next_; s < sections.size() && sections[s].wire_begin < end; ++s) {
      const Section& section = sections[s];
      if (!section.is_on_wire) continue;
      const std::size_t first = std::max(begin, section.wire_begin);
      const std::size_t last = std::min(end, section_end(section));
      const bool at_zero = section.is_own && is_seeded(Fault::kOwnMemoryAtZero);
      copy_bytes(memory + (first - begin), last - first, section.sent,
                 at_zero ? 0 : first - section.wire_begin);
    }
  }

  void copy_pinned(const PinnedSource& source, const Section& section) const {
    const c10::StreamGuard on_copies(copies_);
    copy_bytes(static_cast<const char*>(source.data), source.nbytes, section.sent, 0);
    if (is_seeded(Fault::kPinnedNotRecorded)) return;
    const bool by_address = is_seeded(Fault::kPinnedByAddress);
    const void* block = by_address ? source.data : source.block;
    at::getHostAllocator(options_.device.type())
        ->record_event(const_cast<void*>(block), by_address ? nullptr : source.context, copies_);
  }

  void cast(Section& section) const {
    if (section.dtype == section.wire_dtype) return;
    const c10::StreamGuard on_stream(is_seeded(Fault::kCastOnConsumer) ? consumer_ : copies_);
    const auto numel =
        static_cast<std::int64_t>(section.nbytes / c10::elementSize(section.wire_dtype));
    ImplArena arena(2);
    const at::Tensor sent = build_view(arena, section.sent, section.wire_dtype, 0, {numel});
    build_view(arena, section.result, section.dtype, 0, {numel}).copy_(sent, /*non_blocking=*/true);
    section.sent.reset();  // in the order of the copy stream, which has the cast before it
  }

  void finish(const std::vector<Section>& sections) {
    if (!options_.stream) {
      order_consumer();
      for (const Section& section : sections) {
        if (is_seeded(Fault::kMemoryNotRecorded) && !section.is_own) continue;
        if (is_seeded(Fault::kOwnMemoryNotRecorded) && section.is_own) continue;
        impl_.recordDataPtrOnStream(section.result.storage().data_ptr(), consumer_);
      }
    }
    if (!options_.non_blocking) impl_.synchronizeStream(copies_);
  }

  [[nodiscard]] const c10::Stream& copies() const { return copies_; }
  [[nodiscard]] const c10::Stream& consumer() const { return consumer_; }

 private:
  static std::size_t section_end(const Section& section) {
    return section.wire_begin + (section.is_on_wire ? section.nbytes : 0);
  }

  at::Tensor bytes_on_device(std::size_t nbytes) const {
    return at::empty({static_cast<std::int64_t>(nbytes)},
                     at::TensorOptions().dtype(c10::kByte).device(options_.device));
  }

  static void copy_bytes(const char* source, std::size_t nbytes, const at::Tensor& target,
                         std::size_t offset) {
    const auto size = static_cast<std::int64_t>(nbytes);
    const at::Tensor from = at::from_blob(const_cast<char*>(source), {size}, c10::kByte);
    ImplArena arena(1);
    build_view(arena, target, c10::kByte, offset, {size}).copy_(from, /*non_blocking=*/true);
  }

  void order_consumer() const {
    if (is_seeded(Fault::kConsumerNotOrdered)) return;
    c10::Event arrived(options_.device.type());
    arrived.record(copies_);
    arrived.block(consumer_);
  }

  const TransferOptions& options_;
  const DeviceImpl impl_;
  const c10::DeviceGuard guard_;
  const c10::Stream consumer_;
  const c10::Stream copies_;
  std::size_t next_ = 0;  // the first section that is not sent yet
};

void send_window(Transfer& transfer, const Wire& wire, std::size_t begin, std::size_t end,
                 const std::vector<Section>& sections, c10::Device device,
                 std::optional<int> threads) {
  StagingLease buffer = lease_staging(device, end - begin);
  pass_gate();
  const auto copy = [&] {
    if (is_seeded(Fault::kEventBeforeCopy)) buffer.sent_on(transfer.copies());
    std::exception_ptr failure;
    try {
      transfer.copy(buffer.data(), begin, end, sections);
    } catch (...) {
      failure = std::current_exception();
    }
    // After a failure as well: some of the copies may have been enqueued.
    const bool on_wrong = is_seeded(Fault::kEventOnWrongStream);
    if (!is_seeded(Fault::kEventBeforeCopy)) {
      buffer.sent_on(on_wrong ? transfer.consumer() : transfer.copies());
    }
    if (failure) std::rethrow_exception(failure);
  };
  if (is_seeded(Fault::kCopyBeforeGather)) copy();
  wire.write(begin, end, buffer.data(), threads);
  if (!is_seeded(Fault::kCopyBeforeGather)) copy();
}

}  // namespace

bool can_transfer_to(c10::DeviceType type) {
  const bool has_streams = type == c10::DeviceType::CUDA || type == c10::DeviceType::XPU ||
                           type == c10::DeviceType::PrivateUse1;
  if (!has_streams || !c10::impl::hasDeviceGuardImpl(type)) return false;
  try {
    return at::getHostAllocator(type) != nullptr;
  } catch (const c10::Error&) {
    return false;
  }
}

bool is_capturing([[maybe_unused]] const TransferOptions& options) {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 13
  const DeviceImpl impl(options.device.type());
  if (impl.isStreamCapturing(impl.getStream(options.device))) return true;
  return options.stream && impl.isStreamCapturing(*options.stream);
#else
  return false;
#endif
}

void send(const Wire& wire, std::vector<Section>& sections, const std::vector<PinnedSource>& pinned,
          const TransferOptions& options, std::optional<int> threads) {
  const PlainDispatch plain;
  Transfer transfer(options);
  const StagingSettings settings = staging_settings();
  if (!threads) threads = settings.threads;
  for (Section& section : sections) transfer.allocate(section);
  for (const PinnedSource& source : pinned) {
    transfer.copy_pinned(source, sections[source.section]);
  }
  const auto cast_all = [&] {
    for (Section& section : sections) transfer.cast(section);
  };
  if (is_seeded(Fault::kCastTooEarly)) cast_all();
  for (std::size_t begin = 0, end = 0; begin < wire.nbytes; begin = end) {
    end = wire.window_end(begin, settings.chunk_bytes);
    send_window(transfer, wire, begin, end, sections, options.device, threads);
  }
  if (!is_seeded(Fault::kCastTooEarly)) cast_all();
  transfer.finish(sections);
}

}  // namespace tensorlift
