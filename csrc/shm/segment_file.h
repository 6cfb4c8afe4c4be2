// SegmentFile: a file of shared memory as one process sees it, a mapping of all of it. In front lie
// the headers, by which the processes that map it agree on its use; behind them the segments, all
// of one size. Large segments have a file each; small ones share one, so that many of them take few
// mappings and descriptors.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "shm/file_descriptor.h"

namespace tensorlift {

// Is there such memory on this system?
[[nodiscard]] bool has_segments();

// Random: no two files have the same.
using FileIdentity = std::array<std::uint64_t, 2>;

// A process that has the file open, and under which number.
struct FilePlace {
  pid_t process;
  int descriptor;
};

// In shared memory, as the headers of segments are. Lock-free atomics work across processes.
struct SegmentHeader {
  std::atomic<std::uint32_t> holds;  // those of processes, and open offers
  std::atomic<std::uint32_t> is_retired;
  std::atomic<std::uint32_t> removals;  // how often pages were given back
  std::atomic<std::uint64_t> offers_made;
  std::array<std::atomic<std::uint64_t>, 32> offers;  // the numbers of those that are open; 0
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

// Its methods may be called by any thread. Nothing here needs the GIL, and what asks the system for
// pages should not have it.
class SegmentFile {
 public:
  // A new one of this process with `count` segments of at least `nbytes` each; nullptr where the
  // system gives none: no memory, too many open files, forbidden. It keeps its size for ever.
  [[nodiscard]] static std::shared_ptr<SegmentFile> make(std::size_t count, std::size_t nbytes);

  // What `file`, found at `place`, is if it has that identity. Throws RuntimeError where it is
  // something else, may lose what is mapped of it, or cannot be mapped.
  [[nodiscard]] static std::shared_ptr<SegmentFile> open(const FileDescriptor& file,
                                                         const FilePlace& place,
                                                         const FileIdentity& identity);

  ~SegmentFile();
  SegmentFile(const SegmentFile&) = delete;
  SegmentFile& operator=(const SegmentFile&) = delete;

  [[nodiscard]] const FileIdentity& identity() const { return identity_; }
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] std::size_t segment_bytes() const { return segment_bytes_; }

  // Of the segment `index`: what others know of it, and its elements, aligned to 64 bytes.
  [[nodiscard]] SegmentHeader& header(std::size_t index) const;
  [[nodiscard]] char* data(std::size_t index) const;

  // Puts pages behind the first `nbytes` of a segment; false where there are none to be had.
  [[nodiscard]] bool populate(std::size_t index, std::size_t nbytes) const;
  // Maps the pages that are there, at once: half the time of a fault for each.
  void map_populated(std::size_t index, std::size_t nbytes) const;
  // Gives back the pages behind a segment from `begin` on, whoever maps them.
  void remove_pages(std::size_t index, std::size_t begin) const;

  // Was it made by this process, or one that this was forked from?
  [[nodiscard]] bool is_owned() const { return file_.is_open(); }
  // Where another process finds it, if it may look.
  [[nodiscard]] const FilePlace& place() const { return place_; }
  // Another descriptor of it, found at its owner's where this process has none; not open where
  // there is none to be had.
  [[nodiscard]] FileDescriptor descriptor() const;

  // Its owner does not need it any more.
  void forget() const;
  [[nodiscard]] bool is_forgotten() const;
  // Is its owner a process that we know of? One of another PID namespace may live all the same.
  [[nodiscard]] bool owner_lives() const;

  // A child that is forked has the mapping, too, while it is in use: at first it is not.
  void begin_use() { uses_.fetch_add(1); }
  void end_use() { uses_.fetch_sub(1); }

 private:
  struct Header {
    std::uint64_t magic;
    FileIdentity identity;
    std::int64_t owner;
    std::uint64_t count, segment_bytes;
    std::atomic<std::uint32_t> is_forgotten;
  };
  [[nodiscard]] static std::size_t headers_bytes(std::size_t count);

  SegmentFile(void* mapping, const Header& header, FilePlace place, FileDescriptor file);
  [[nodiscard]] static std::size_t nbytes_of(const Header& header);
  [[nodiscard]] static bool is_header(const Header& header, std::size_t file_bytes);
  [[nodiscard]] static bool is_file(const FileDescriptor& file, Header& header);

  friend class MappedFiles;
  void unmap();
  // In a child that was forked: releases it unless it is in use.
  void begin_child();

  void* mapping_;
  const FileIdentity identity_;
  const pid_t owner_;
  const std::size_t count_, segment_bytes_;  // as they were checked: others may write the header
  FilePlace place_;
  FileDescriptor file_;  // open in its owner alone: a mapping needs none
  std::atomic<int> uses_{0};
};

}  // namespace tensorlift
