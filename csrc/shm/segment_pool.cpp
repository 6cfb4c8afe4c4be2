#include "shm/segment_pool.h"

#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "errors.h"
#include "parallel/fork_safe_singleton.h"

namespace tensorlift {
namespace {

constexpr std::size_t kPage = 4 << 10;

// Segments up to this size share files: what has them mapped has fewer mappings.
constexpr std::size_t kLargestInSharedFile = 256 << 10;
constexpr std::size_t kSegmentsInSharedFile = 64;

// A loader's worker has a batch in the making, those on their way (prefetch_factor, 2 by default),
// and one that the consumer works on; each has a file for each large tensor. Files that the
// consumer keeps are forgotten here. Twice as many may be on their way, for they cannot be
// forgotten before they are received.
constexpr std::size_t kMaxFiles = 128;

// What may lie idle when memory is asked for: so much, or an eighth of what is in use then.
constexpr std::size_t kMaxKeptBytes = 4 << 20;
constexpr std::size_t kIdlePart = 8;

// What was not used for so many turns lies idle no more: so many batches are rarely on their way.
constexpr std::uint64_t kTurnsOfUse = 256;

// A file in which no segment was free is not searched again for so many turns.
constexpr std::uint64_t kTurnsOfRest = 32;

std::size_t max_files() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMaxFiles;
  return std::clamp<std::size_t>(limit.rlim_cur / 4, 1, kMaxFiles);
}

// Four sizes an octave for those that lie alone.
std::size_t capacity_for(std::size_t nbytes) {
  if (nbytes <= kLargestInSharedFile) return std::bit_ceil(std::max(nbytes, kPage));
  const std::size_t step = std::bit_floor(nbytes) / 4;
  return (nbytes + step - 1) / step * step;
}

class SegmentPool {
 public:
  // One that nobody holds but the caller; nullptr where there are none.
  std::shared_ptr<Segment> take(std::size_t nbytes) {
    const std::lock_guard lock(mutex_);
    ++turn_;
    release_oldest();
    Pooled* pooled = take_fitting(nbytes);
    if (pooled != nullptr && pooled->populated >= nbytes) return trimmed(*pooled, nbytes);
    files_.remove_if([](const File& file) { return is_useless(file) && forget(file); });
    release_idle(nbytes, /*limit=*/kMaxKeptBytes);
    if (pooled == nullptr) pooled = make(nbytes);
    if (pooled != nullptr && populate(*pooled, nbytes)) return pooled->segment;
    // No memory or no file: perhaps there is what others of ours have, for us or for torch's way.
    release_idle(nbytes, /*limit=*/0);
    if (pooled == nullptr) return nullptr;
    if (populate(*pooled, nbytes)) return pooled->segment;
    pooled->segment->release();
    return nullptr;
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    release_idle(0, /*limit=*/0);
    files_.remove_if([](const File& file) { return !is_needed(file) && forget(file); });
  }

  void close() {
    const std::lock_guard lock(mutex_);
    for (const File& file : files_) {
      forget(file);
      for (const Pooled& pooled : file.segments) pooled.segment->withdraw_offers();
    }
    files_.clear();
  }

  std::size_t idle_bytes() {
    const std::lock_guard lock(mutex_);
    std::size_t bytes = 0;
    for_idle([&](const Pooled& pooled) { bytes += pooled.populated; });
    return bytes;
  }

 private:
  struct Pooled {
    std::shared_ptr<Segment> segment;
    std::size_t populated = 0;  // bytes: from the first on there are pages
  };
  struct File {
    std::shared_ptr<SegmentFile> file;
    std::vector<Pooled> segments;
    std::uint64_t used_at = 0;      // turn
    std::uint64_t rests_until = 0;  // turn
  };

  // The one with about as many pages as are needed, of a size that wastes little; of several the
  // one used last.
  Pooled* take_fitting(std::size_t nbytes) {
    const std::size_t capacity = capacity_for(nbytes);
    const std::size_t largest = nbytes <= kLargestInSharedFile ? capacity : 4 * capacity;
    Pooled* best = nullptr;
    auto best_file = files_.rend();
    for (auto file = files_.rbegin(); file != files_.rend(); ++file) {
      const std::size_t size = file->file->segment_bytes();
      if (size < capacity || size > largest || turn_ < file->rests_until) continue;
      bool is_full = true;
      for (Pooled& pooled : file->segments) {
        if (!pooled.segment->is_free()) continue;
        is_full = false;
        if (best != nullptr && !is_better(pooled.populated, best->populated, nbytes)) continue;
        best = &pooled;
        best_file = file;
      }
      if (is_full && file->segments.size() > 1) file->rests_until = turn_ + kTurnsOfRest;
    }
    if (best == nullptr || !best->segment->take()) return nullptr;
    use(std::prev(best_file.base()));
    return best;
  }

  static bool is_better(std::size_t populated, std::size_t other, std::size_t nbytes) {
    const auto distance = [nbytes](std::size_t there) {
      return there < nbytes ? nbytes - there : there - nbytes;
    };
    return distance(populated) < distance(other);
  }

  // Without the pages that are far too many: who keeps the tensor would keep them.
  static std::shared_ptr<Segment> trimmed(Pooled& pooled, std::size_t nbytes) {
    if (pooled.populated > nbytes + nbytes / 4 + kLargestInSharedFile) {
      pooled.segment->remove_pages(nbytes);
      pooled.populated = nbytes;
    }
    return pooled.segment;
  }

  static bool populate(Pooled& pooled, std::size_t nbytes) {
    if (!pooled.segment->populate(nbytes)) return false;
    pooled.populated = nbytes;
    return true;
  }

  Pooled* make(std::size_t nbytes) {
    if (!has_room_for_a_file()) return nullptr;
    const bool is_shared = nbytes <= kLargestInSharedFile;
    File made;
    made.file = SegmentFile::make(is_shared ? kSegmentsInSharedFile : 1, capacity_for(nbytes));
    if (made.file == nullptr) return nullptr;
    for (std::size_t i = 0; i < made.file->count(); ++i) {
      made.segments.push_back({std::make_shared<Segment>(made.file, i)});
    }
    files_.push_back(std::move(made));
    use(std::prev(files_.end()));
    Pooled& first = files_.back().segments.front();
    if (!first.segment->take()) throw InternalError("a segment is held before anybody knows it");
    return &first;
  }

  // Forgets those that were used longest ago: first empty ones, then those that others keep.
  bool has_room_for_a_file() {
    const std::size_t limit = max_files();
    for (const bool only_idle : {true, false}) {
      for (auto file = files_.begin(); file != files_.end() && files_.size() >= limit;) {
        const bool goes = !is_needed(*file) && (!only_idle || is_idle(*file));
        if (goes) forget(*file);
        file = goes ? files_.erase(file) : std::next(file);
      }
    }
    return files_.size() < 2 * limit;
  }

  // Those that this process holds or has offered are needed, whatever others do with them.
  static bool is_needed(const File& file) {
    return std::any_of(file.segments.begin(), file.segments.end(), [](const Pooled& pooled) {
      return pooled.segment.use_count() > 1 || pooled.segment->is_offered();
    });
  }

  // Those that a forked process may read for ever.
  static bool is_useless(const File& file) {
    return !is_needed(file) &&
           std::all_of(file.segments.begin(), file.segments.end(),
                       [](const Pooled& pooled) { return pooled.segment->is_retired(); });
  }

  static bool is_idle(const File& file) {
    return std::all_of(file.segments.begin(), file.segments.end(),
                       [](const Pooled& pooled) { return pooled.segment->is_free(); });
  }

  // Whoever maps it need not keep it for a next time, nor its pages.
  static bool forget(const File& file) {
    file.file->forget();
    for (const Pooled& pooled : file.segments) {
      if (pooled.populated > 0 && pooled.segment->is_free()) pooled.segment->remove_pages(0);
    }
    return true;
  }

  void use(std::list<File>::iterator file) {
    file->used_at = turn_;
    files_.splice(files_.end(), files_, file);
  }

  template <typename Function>
  static void for_idle_of(File& file, Function function) {
    for (Pooled& pooled : file.segments) {
      if (pooled.populated > 0 && pooled.segment->is_free()) function(pooled);
    }
  }

  template <typename Function>
  void for_idle(Function function) {
    for (File& file : files_) for_idle_of(file, function);
  }

  static void release(Pooled& pooled) {
    pooled.segment->remove_pages(0);
    pooled.populated = 0;
  }

  void release_oldest() {
    if (files_.empty() || files_.front().used_at + kTurnsOfUse > turn_) return;
    for_idle_of(files_.front(), release);
    use(files_.begin());
  }

  // Gives back pages of what is idle, used longest ago first, when `nbytes` more are needed.
  void release_idle(std::size_t nbytes, std::size_t limit) {
    std::size_t in_use = nbytes;
    for (const File& file : files_) {
      for (const Pooled& pooled : file.segments) in_use += pooled.populated;
    }
    std::size_t idle = 0;
    for_idle([&](const Pooled& pooled) { idle += pooled.populated; });
    if (limit > 0) limit = std::max(limit, (in_use - idle) / kIdlePart);
    for_idle([&](Pooled& pooled) {
      if (idle <= limit) return;
      idle -= pooled.populated;
      release(pooled);
    });
  }

  std::mutex mutex_;
  std::list<File> files_;  // the one used last at the end
  std::uint64_t turn_ = 0;
};

ForkSafeSingleton<SegmentPool> pool;

}  // namespace

SegmentHoldPtr allocate_segment(std::size_t nbytes) {
  std::shared_ptr<Segment> segment = pool.get().take(nbytes);
  if (segment == nullptr) return {};
  return hold_on(std::move(segment), nbytes,
                 [](std::shared_ptr<Segment>) noexcept {});  // the pool looks when it needs
}

void empty_segment_pool() { pool.get().clear(); }

void close_segment_pool() { pool.get().close(); }

std::size_t idle_segment_bytes() { return pool.get().idle_bytes(); }

}  // namespace tensorlift
