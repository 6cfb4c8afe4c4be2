#include "shm/received_segments.h"

#include <cstdint>
#include <iterator>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "errors.h"
#include "parallel/fork_safe_singleton.h"

namespace tensorlift {
namespace {

// What is kept mapped of processes that live. It is memory of theirs; should they be killed, it is
// ours until we look again: when a batch of theirs dies, or a file is mapped.
constexpr std::size_t kMaxIdleBytes = 256 << 20;
constexpr std::size_t kMaxIdleFiles = 1 << 10;

// How many batches' segments go before we look which owners live: a system call for each file.
constexpr std::uint64_t kTurnsOfTrust = 256;

using FilePtr = std::shared_ptr<SegmentFile>;
using WeakHold = c10::weak_intrusive_ptr<SegmentHold>;

struct HashOfRandom {
  std::size_t operator()(const FileIdentity& identity) const { return identity[0]; }
};

class ReceivedSegments {
 public:
  // A file, in use until end_use(); nullptr: it is not mapped.
  FilePtr use(const FileIdentity& identity) {
    const std::lock_guard lock(mutex_);
    const auto known = files_.find(identity);
    return known == files_.end() ? nullptr : begin_use(known->second);
  }

  // The same for one that was mapped just now, unless another thread was faster.
  FilePtr use_new(const FilePtr& file) {
    Surplus surplus;
    const std::lock_guard lock(mutex_);
    forget_idle(surplus, is_useless);
    return begin_use(files_.try_emplace(file->identity(), file).first->second);
  }

  void end_use(const SegmentFile& file) noexcept {
    Surplus surplus;
    const std::lock_guard lock(mutex_);
    const auto known = files_.find(file.identity());
    // A forked child maps anew what it receives, whatever it has inherited.
    if (known == files_.end() || known->second.node->get() != &file) return;
    Received& received = known->second;
    if (--received.uses > 0) return;
    idle_.splice(idle_.end(), received.place);
    idle_bytes_ += received.mapped_bytes;
    if (file.is_forgotten() || ++uses_ended_ % kTurnsOfTrust == 0) forget_idle(surplus, is_useless);
    const auto is_surplus = [this](const SegmentFile&) {  // those that were used longest ago first
      return idle_bytes_ > kMaxIdleBytes || idle_.size() > kMaxIdleFiles;
    };
    if (is_surplus(file)) forget_idle(surplus, is_surplus);
  }

  // This process's hold on a segment of a file in use; nothing where it has none.
  SegmentHoldPtr hold_of(const Segment& segment) {
    const std::lock_guard lock(mutex_);
    const auto& hold = known(segment).hold;
    return hold ? hold->lock() : SegmentHoldPtr();
  }

  // The hold on its segment from now on: this one, or another thread's that was faster.
  SegmentHoldPtr add(const SegmentHoldPtr& hold) {
    const std::lock_guard lock(mutex_);
    auto& known_hold = known(hold->segment()).hold;
    if (known_hold) {
      if (SegmentHoldPtr faster = known_hold->lock()) return faster;
    }
    known_hold = WeakHold(hold);
    return hold;
  }

  // Maps the pages of a segment in use, unless they are.
  void map_pages(const Segment& segment, std::size_t nbytes) {
    {
      const std::lock_guard lock(mutex_);
      Known& pages = known(segment);
      const std::uint32_t removals = segment.removals();
      if (pages.mapped_bytes >= nbytes && pages.removals == removals) return;
      files_.at(segment.file().identity()).mapped_bytes += nbytes - pages.mapped_bytes;
      pages.mapped_bytes = nbytes;
      pages.removals = removals;
    }
    segment.file().map_populated(segment.index(), nbytes);
  }

  void clear() {
    Surplus surplus;
    const std::lock_guard lock(mutex_);
    forget_idle(surplus, [](const SegmentFile&) { return true; });
  }

  std::size_t idle_bytes() {
    const std::lock_guard lock(mutex_);
    return idle_bytes_;
  }

 private:
  using Files = std::list<FilePtr>;
  // Unmapped when it dies: after the lock.
  using Surplus = Files;

  struct Known {  // of a segment
    std::optional<WeakHold> hold;
    std::size_t mapped_bytes = 0;  // whose pages were mapped
    std::uint32_t removals = 0;    // that had been then
  };
  struct Received {
    explicit Received(const FilePtr& file)
        : segments(file->count()), place({file}), node(place.begin()) {}

    std::vector<Known> segments;
    std::size_t mapped_bytes = 0;  // of all of them
    int uses = 0;
    Files place;  // of one node, which is in idle_ as long as there is no use
    const Files::iterator node;
  };

  FilePtr begin_use(Received& received) {
    if (received.place.empty()) {
      idle_bytes_ -= received.mapped_bytes;
      received.place.splice(received.place.end(), idle_, received.node);
    }
    ++received.uses;
    return *received.node;
  }

  static bool is_useless(const SegmentFile& file) {
    return file.is_forgotten() || !file.owner_lives();
  }

  // Of a file in use.
  Known& known(const Segment& segment) {
    return files_.at(segment.file().identity()).segments[segment.index()];
  }

  template <typename Predicate>
  void forget_idle(Surplus& surplus, Predicate is_to_go) {
    for (auto node = idle_.begin(); node != idle_.end();) {
      const auto next = std::next(node);
      if (is_to_go(**node)) {
        const auto known = files_.find((*node)->identity());
        idle_bytes_ -= known->second.mapped_bytes;
        files_.erase(known);
        surplus.splice(surplus.end(), idle_, node);
      }
      node = next;
    }
  }

  std::mutex mutex_;
  std::unordered_map<FileIdentity, Received, HashOfRandom> files_;
  Files idle_;  // the one used last at the end
  std::size_t idle_bytes_ = 0;
  std::uint64_t uses_ended_ = 0;
};

ForkSafeSingleton<ReceivedSegments> received_segments;

// A use of a file that ends with it, unless it is handed over.
class FileUse {
 public:
  explicit FileUse(FilePtr file) : file_(std::move(file)) {}
  ~FileUse() {
    if (file_ != nullptr) received_segments.get().end_use(*file_);
  }
  FileUse(const FileUse&) = delete;
  FileUse& operator=(const FileUse&) = delete;

  [[nodiscard]] const FilePtr& file() const { return file_; }
  void hand_over() { file_ = nullptr; }

 private:
  FilePtr file_;
};

FilePtr use_or_map(const SegmentOffer& offer, c10::function_ref<FileDescriptor()> open) {
  ReceivedSegments& received = received_segments.get();
  FilePtr file = received.use(offer.identity);
  if (file != nullptr) return file;
  return received.use_new(SegmentFile::open(open(), offer.place, offer.identity));
}

// Turns the offer into a hold of this process.
void accept(Segment& segment, const SegmentOffer& offer) {
  if (offer.nbytes > segment.capacity()) {
    throw RuntimeError("shared memory: expected a batch of at most " +
                       std::to_string(segment.capacity()) + " bytes, got one of " +
                       std::to_string(offer.nbytes) + ".");
  }
  if (segment.accept(offer)) return;
  throw RuntimeError(
      "shared memory: expected a batch that was not received before, got one that was. What a "
      "worker sends can be unpickled once.");
}

}  // namespace

SegmentHoldPtr accept_segment(const SegmentOffer& offer, c10::function_ref<FileDescriptor()> open) {
  ReceivedSegments& received = received_segments.get();
  FileUse use(use_or_map(offer, open));
  if (offer.index >= use.file()->count()) {
    throw RuntimeError("shared memory: expected segment 0 to " +
                       std::to_string(use.file()->count() - 1) + ", got " +
                       std::to_string(offer.index) + ".");
  }
  auto segment = std::make_shared<Segment>(use.file(), offer.index);
  accept(*segment, offer);
  if (SegmentHoldPtr hold = received.hold_of(*segment)) {
    segment->release();  // one hold a process
    return hold;
  }
  received.map_pages(*segment, offer.nbytes);
  const SegmentHoldPtr hold =
      hold_on(std::move(segment), offer.nbytes, [](std::shared_ptr<Segment> released) noexcept {
        received_segments.get().end_use(released->file());
      });
  use.hand_over();
  return received.add(hold);
}

void empty_received_segments() { received_segments.get().clear(); }

std::size_t idle_received_bytes() { return received_segments.get().idle_bytes(); }

}  // namespace tensorlift
