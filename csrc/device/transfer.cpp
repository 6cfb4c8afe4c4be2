#include "device/transfer.h"

#include <ATen/Context.h>
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/ops/empty.h>
#include <c10/core/StreamGuard.h>
#include <torch/version.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "device/staging.h"
#include "errors.h"
#include "memory/build.h"

namespace tensorlift {
namespace {

using DeviceImpl = c10::impl::VirtualGuardImpl;

// Threads fill a buffer at pieces of this size where much is to be sent: by published figures a bus
// takes some 50 GB/s and a thread gives about 8. Not measured here yet.
constexpr std::size_t kBytesPerThreadOfMuch = 256 << 10;
constexpr std::size_t kMuch = 8 << 20;

// A part of an item's packed bytes, and where in a buffer it lies.
struct Piece {
  std::size_t item;
  std::size_t begin, end;  // of its packed bytes
  std::size_t at;          // in the buffer
};

// Cuts the packed bytes of all items into buffers: one after another, several into one where they
// fit.
class Cutter {
 public:
  Cutter(const std::vector<TransferItem>& items, std::size_t limit)
      : items_(items), limit_(limit) {}

  // What the next buffer is filled with; nothing at the end.
  std::vector<Piece> next() {
    std::vector<Piece> pieces;
    std::size_t at = 0;
    while (item_ < items_.size()) {
      const PackedBytes& packed = items_[item_].packed;
      if (offset_ == packed.nbytes) {
        ++item_;
        offset_ = 0;
        continue;
      }
      if (at >= limit_) break;
      const std::size_t end = packed.chunk_end(offset_, limit_ - at, limit_);
      if (!pieces.empty() && at + (end - offset_) > limit_) break;
      pieces.push_back({item_, offset_, end, at});
      at += slot_aligned(end - offset_);
      offset_ = end;
      if (end < packed.nbytes) break;
    }
    return pieces;
  }

 private:
  const std::vector<TransferItem>& items_;
  const std::size_t limit_;
  std::size_t item_ = 0;
  std::size_t offset_ = 0;
};

std::size_t section_end(const Section& section) {
  return section.packed_begin + (section.is_packed ? section.nbytes : 0);
}

// Calls function(section, begin, end) for each section that has some of the piece's packed bytes.
template <typename Function>
void for_each_part(const Piece& piece, const std::vector<Section>& sections, Function function) {
  auto section = std::partition_point(sections.begin(), sections.end(), [&](const Section& s) {
    return section_end(s) <= piece.begin;
  });
  for (; section != sections.end() && section->packed_begin < piece.end; ++section) {
    if (!section->is_packed) continue;
    const std::size_t first = std::max(piece.begin, section->packed_begin);
    const std::size_t last = std::min(piece.end, section_end(*section));
    if (first < last) function(*section, first, last);
  }
}

// One send() in progress.
class Transfer {
 public:
  Transfer(const TransferOptions& options, std::optional<int> threads, std::size_t sections)
      : options_(options),
        settings_(staging_settings()),
        threads_(threads ? threads : settings_.threads),
        impl_(options.device.type()),
        guard_(options.device),
        ring_(staging_ring(options.device)),
        consumer_(options.stream ? *options.stream : current_stream()),
        copies_(staging_stream(ring_)),
        arena_(2 * sections) {
    if (is_capturing(copies_)) {
      throw RuntimeError(
          "device: expected no graph capture on the stream that arrays are sent on, got one.");
    }
  }

  [[nodiscard]] const c10::Stream& copies() const { return copies_; }

  // What follows is called with copies() as the current stream.

  void allocate(Section& section) const {
    if (section.is_callers) {
      const bool is_cast = section.dtype != section.packed_dtype;
      section.sent = is_cast ? bytes_on_device(section.nbytes) : section.result;
      return;
    }
    section.sent = bytes_on_device(section.nbytes);
    section.result = section.dtype == section.packed_dtype
                         ? section.sent
                         : bytes_on_device(section.nbytes / c10::elementSize(section.packed_dtype) *
                                           c10::elementSize(section.dtype));
  }

  void copy_pinned(const TransferItem& item) {
    for (const PinnedSource& source : item.pinned) {
      copy_bytes(static_cast<const char*>(source.data), source.nbytes,
                 item.sections[source.section].sent, 0);
      at::getHostAllocator(options_.device.type())
          ->record_event(const_cast<void*>(source.block), source.context, copies_);
    }
  }

  // Fills a buffer and sends it.
  void send(const std::vector<TransferItem>& items, const std::vector<Piece>& pieces) {
    StagingLease buffer = lease_staging(ring_, settings_);
    for (const Piece& piece : pieces) {
      const PackedBytes& packed = items[piece.item].packed;
      packed.write(piece.begin, piece.end, buffer.data() + piece.at, threads_,
                   packed.nbytes >= kMuch ? kBytesPerThreadOfMuch : kBytesPerThread);
    }
    copy(items, pieces, buffer);
  }

  void finish(const Section& section) const {
    if (section.finish) section.finish(section);
  }

  void convert(Section& section) const {
    if (section.dtype == section.packed_dtype) return;
    if (section.convert) {
      section.convert(section);
    } else {
      cast(section);
    }
    section.sent.reset();  // in the order of the copy stream, which has the cast before it
  }

  // The copies wait for what the caller's stream was given.
  void wait_for_consumer() const {
    with_staging_event(ring_, [this](c10::Event& done) {
      done.record(consumer_);
      done.block(copies_);
    });
  }

  // The caller's stream, and the host if it wants to, wait for all that was enqueued.
  void order() const {
    with_staging_event(ring_, [this](c10::Event& arrived) {
      arrived.record(copies_);
      arrived.block(consumer_);
      if (!options_.non_blocking) arrived.synchronize();
    });
  }

  void record_use(const Section& section) const {
    impl_.recordDataPtrOnStream(section.result.storage().data_ptr(), consumer_);
  }

  // Of memory of the caller's, which may go back to another stream's pool.
  void record_copies(const at::Tensor& memory) const {
    const c10::DataPtr& data = memory.storage().data_ptr();
    for (const auto& stream : {copies_, consumer_}) impl_.recordDataPtrOnStream(data, stream);
  }

  [[nodiscard]] std::size_t chunk_bytes() const { return settings_.chunk_bytes; }

 private:
  c10::Stream current_stream() const { return impl_.getStream(options_.device); }

  at::Tensor bytes_on_device(std::size_t nbytes) const {
    return at::empty({static_cast<std::int64_t>(nbytes)},
                     at::TensorOptions().dtype(c10::kByte).device(options_.device));
  }

  static void cast(const Section& section) {
    const auto numel =
        static_cast<std::int64_t>(section.nbytes / c10::elementSize(section.packed_dtype));
    TensorArena arena(2);
    const at::Tensor sent = build_view(arena, section.sent, section.packed_dtype, 0, {numel});
    build_view(arena, section.result, section.dtype, 0, {numel}).copy_(sent, /*non_blocking=*/true);
  }

  void copy_bytes(const char* source, std::size_t nbytes, const at::Tensor& target,
                  std::size_t offset) {
    const auto size = static_cast<std::int64_t>(nbytes);
    c10::DataPtr memory(const_cast<char*>(source), c10::Device(c10::DeviceType::CPU));
    const at::Tensor from =
        build_shared(arena_, std::move(memory), nbytes, c10::kByte, {size}, {1});
    build_view(arena_, target, c10::kByte, offset, {size}).copy_(from, /*non_blocking=*/true);
  }

  // Enqueues the copies out of a buffer, and its event behind them.
  void copy(const std::vector<TransferItem>& items, const std::vector<Piece>& pieces,
            StagingLease& buffer) {
    std::exception_ptr failure;
    try {
      for (const Piece& piece : pieces) {
        copy_piece(buffer.data() + piece.at, piece, items[piece.item].sections);
      }
    } catch (...) {
      failure = std::current_exception();
    }
    // After a failure as well: some of the copies may have been enqueued.
    buffer.sent_on(copies_);
    if (failure) std::rethrow_exception(failure);
  }

  // To the sections that it belongs to.
  void copy_piece(const char* memory, const Piece& piece, const std::vector<Section>& sections) {
    for_each_part(piece, sections,
                  [&](const Section& section, std::size_t first, std::size_t last) {
                    copy_bytes(memory + (first - piece.begin), last - first, section.sent,
                               first - section.packed_begin);
                  });
  }

  const TransferOptions& options_;
  const StagingSettings settings_;
  const std::optional<int> threads_;
  const DeviceImpl impl_;
  const c10::DeviceGuard guard_;
  StagingRing& ring_;
  const c10::Stream consumer_;
  const c10::Stream copies_;
  TensorArena arena_;  // for tensors that a copy is told about
};

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

bool is_capturing([[maybe_unused]] const c10::Stream& stream) {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 13
  return DeviceImpl(stream.device_type()).isStreamCapturing(stream);
#else
  return false;
#endif
}

TransferCounts count_copies(const std::vector<TransferItem>& items) {
  TransferCounts counts;
  const auto add_copy = [&counts](std::size_t nbytes) {
    ++counts.copies;
    counts.nbytes += nbytes;
  };
  for (const TransferItem& item : items) {
    for (const PinnedSource& source : item.pinned) add_copy(source.nbytes);
    for (const Section& section : item.sections) {
      if (section.nbytes > 0 && section.dtype != section.packed_dtype) ++counts.casts;
    }
  }
  Cutter windows(items, staging_settings().chunk_bytes);
  for (auto pieces = windows.next(); !pieces.empty(); pieces = windows.next()) {
    ++counts.windows;
    for (const Piece& piece : pieces) {
      for_each_part(
          piece, items[piece.item].sections,
          [&](const Section&, std::size_t first, std::size_t last) { add_copy(last - first); });
    }
  }
  return counts;
}

void send(std::vector<TransferItem>& items, const TransferOptions& options,
          std::optional<int> threads) {
  at::globalContext().lazyInitDevice(options.device.type());
  const DispatchGuard plain;
  std::size_t sections = 0;
  for (const TransferItem& item : items) sections += item.sections.size();
  Transfer transfer(options, threads, sections);
  const c10::StreamGuard on_copies(transfer.copies());
  const auto for_each_section = [&items](const auto& function) {
    for (TransferItem& item : items) {
      for (Section& section : item.sections) function(section);
    }
  };
  bool is_any_callers = false;
  for_each_section([&](const Section& section) {
    is_any_callers |= section.is_callers || section.finished.defined();
  });
  for_each_section([&](Section& section) { transfer.allocate(section); });
  const auto enqueue = [&] {
    for (const TransferItem& item : items) transfer.copy_pinned(item);
    Cutter cutter(items, transfer.chunk_bytes());
    for (auto pieces = cutter.next(); !pieces.empty(); pieces = cutter.next()) {
      transfer.send(items, pieces);
    }
    for_each_section([&](Section& section) { transfer.convert(section); });
    for_each_section([&](const Section& section) { transfer.finish(section); });
  };
  if (is_any_callers) {
    for_each_section([&](const Section& section) {
      if (section.is_callers) transfer.record_copies(section.result);
      if (section.finished.defined()) transfer.record_copies(section.finished);
    });
    transfer.wait_for_consumer();
    try {
      enqueue();
    } catch (...) {
      transfer.order();  // the caller still has the memory
      throw;
    }
  } else {
    enqueue();
  }
  transfer.order();
  for_each_section([&](const Section& section) {
    if (!section.is_callers) transfer.record_use(section);
  });
}

}  // namespace tensorlift
