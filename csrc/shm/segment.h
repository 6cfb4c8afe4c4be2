// Segment: memory that several processes map, and that is used again when none of them needs it any
// more. What they agree on lies in the segment itself, in front of the elements.
//
// One process, its owner, makes a segment and fills it. Whoever holds it may offer it to others: an
// offer is for one receiver, once. Whoever holds a segment lets go of it with the last storage over
// it; when nobody holds it and no offer is open, its owner may fill it again.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "shm/file_descriptor.h"

namespace tensorlift {

// Is there such memory on this system?
[[nodiscard]] bool has_segments();

// Random: no two segments have the same.
using SegmentIdentity = std::array<std::uint64_t, 2>;

// Which segment is offered. Plain numbers, to be sent.
struct SegmentOffer {
  pid_t owner;
  int descriptor;  // of the owner's
  SegmentIdentity identity;
  std::uint32_t slot;    // where it stands as long as it is open
  std::uint64_t number;  // no other offer of the segment ever has it
  std::size_t nbytes;    // of elements
};

// A segment as one process sees it: a mapping. Its methods may be called by any thread. Nothing
// here needs the GIL, and what asks the system for pages should not have it.
class Segment {
 public:
  // A new one for `capacity` bytes, of this process, which nobody holds; none where the system
  // gives none: no memory, too many open files, forbidden. Its file has its size for ever.
  [[nodiscard]] static std::optional<Segment> make(std::size_t capacity);

  // What another process offers; accept() it before its elements are read. Throws RuntimeError
  // where `file` is something else, or may lose what is mapped of it, or cannot be mapped.
  [[nodiscard]] static Segment open(const FileDescriptor& file, const SegmentOffer& offer);

  Segment(Segment&& other) noexcept;
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  Segment& operator=(Segment&&) = delete;
  ~Segment();

  // The elements, aligned to 64 bytes.
  [[nodiscard]] char* data() const { return static_cast<char*>(mapping_) + kHeaderBytes; }
  [[nodiscard]] std::size_t capacity() const { return mapped_bytes_ - kHeaderBytes; }
  [[nodiscard]] const SegmentIdentity& identity() const { return identity_; }

  // For its owner. Puts pages behind the first `nbytes`; false where there are none to be had.
  [[nodiscard]] bool populate(std::size_t nbytes);
  // For others. Maps the pages that are there, at once: half the time of a fault for each.
  void map_populated(std::size_t nbytes);

  // Does a child that is forked have the mapping, too?
  void set_inherited(bool is_inherited);

  // Was it made by this process?
  [[nodiscard]] bool is_owned() const { return file_.is_open(); }
  // Another descriptor of its file, which the owner of another's segment has as long as it uses it;
  // not open where there is none to be had.
  [[nodiscard]] FileDescriptor file() const;

  // Does nobody hold it, and may it be used again?
  [[nodiscard]] bool is_free() const;

  // For its owner. Begins a new use, held once, if it is free.
  [[nodiscard]] bool take();

  // For those who hold it. An offer; none where too many are open.
  [[nodiscard]] std::optional<SegmentOffer> offer(std::size_t nbytes);

  // Is there an offer that nobody has accepted?
  [[nodiscard]] bool is_offered() const;

  // Turns an offer into one more hold; false where it was accepted before, or never made.
  [[nodiscard]] bool accept(const SegmentOffer& offer);

  // Ends a hold.
  void let_go();

  // It is not used again: a forked process may still read it, or its owner does not need it.
  void retire();
  [[nodiscard]] bool is_retired() const;

  [[nodiscard]] bool owner_lives() const;

 private:
  // In shared memory. Lock-free atomics work across processes.
  struct Header {
    std::uint64_t magic;
    SegmentIdentity identity;
    std::int64_t owner;
    std::atomic<std::uint32_t> holds;  // those of processes, and open offers
    std::atomic<std::uint32_t> is_retired;
    std::atomic<std::uint64_t> offers_made;
    std::array<std::atomic<std::uint64_t>, 32> offers;  // the numbers of those that are open; 0
  };
  static constexpr std::size_t kHeaderBytes = 320;  // a multiple of 64, for the alignment
  static_assert(sizeof(Header) <= kHeaderBytes);
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

  Segment(void* mapping, std::size_t mapped_bytes, const SegmentIdentity& identity, pid_t owner,
          int descriptor);
  [[nodiscard]] Header& header() const { return *static_cast<Header*>(mapping_); }
  [[nodiscard]] static bool is_of(const FileDescriptor& file, const SegmentIdentity& identity);

  void* mapping_;
  std::size_t mapped_bytes_;
  std::size_t populated_bytes_ = 0;
  SegmentIdentity identity_;
  pid_t owner_;
  int descriptor_;       // the owner's number for it
  FileDescriptor file_;  // open in its owner alone: a mapping needs none
};

}  // namespace tensorlift
