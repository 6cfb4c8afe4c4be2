// Segment: memory that several processes map, and that is used again when none of them needs it any
// more. What they agree on lies in the segment itself, in front of the elements.
//
// One process, its owner, makes a segment and fills it. It may offer it to others: an offer is for
// one receiver, once. Whoever holds a segment lets go of it with the last tensor over it; when
// nobody holds it and no offer is open, its owner may fill it again.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace tensorlift {

// Is there such memory on this system?
[[nodiscard]] bool has_segments();

// Which of the owner's segments is offered. Plain numbers, to be sent.
struct SegmentOffer {
  pid_t owner;
  int descriptor;  // of the owner's
  std::array<std::uint64_t, 2> identity;
  std::uint32_t slot;    // where it stands as long as it is open
  std::uint64_t number;  // no other offer of the segment ever has it
  std::size_t nbytes;    // what it holds
};

// A file descriptor.
class FileDescriptor {
 public:
  explicit FileDescriptor(int number) : number_(number) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : number_(other.number_) { other.number_ = -1; }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  FileDescriptor& operator=(FileDescriptor&&) = delete;

  [[nodiscard]] int number() const { return number_; }
  [[nodiscard]] bool is_open() const { return number_ >= 0; }

 private:
  int number_;
};

// A segment as one process sees it: a mapping. Its methods may be called by any thread. Nothing
// here needs the GIL.
class Segment {
 public:
  // A new one for `capacity` bytes, of this process, which nobody holds; none where the system
  // gives none: no memory, too many open files, forbidden.
  [[nodiscard]] static std::optional<Segment> make(std::size_t capacity);

  // What another process offers; accept() it before its elements are read. Throws RuntimeError
  // where `file` is something else.
  [[nodiscard]] static Segment open(const FileDescriptor& file, const SegmentOffer& offer);

  Segment(Segment&& other) noexcept;
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  Segment& operator=(Segment&&) = delete;
  ~Segment();

  // The elements, aligned to 64 bytes.
  [[nodiscard]] void* data() const { return static_cast<char*>(mapping_) + kHeaderBytes; }
  [[nodiscard]] std::size_t capacity() const { return mapped_bytes_ - kHeaderBytes; }

  // Puts pages behind the first `nbytes`; false where there are none to be had.
  [[nodiscard]] bool populate(std::size_t nbytes);

  // Was it made by this process?
  [[nodiscard]] bool is_owned() const { return file_.is_open(); }

  // Does nobody hold it, and may it be used again?
  [[nodiscard]] bool is_free() const;

  // For its owner. Begins a new use, held once, if it is free.
  [[nodiscard]] bool take();

  // For its owner. An offer of `nbytes` that the caller holds; none where too many are open.
  [[nodiscard]] std::optional<SegmentOffer> offer(std::size_t nbytes);

  // Is there an offer that nobody has accepted?
  [[nodiscard]] bool is_offered() const;

  // Is it this segment that is offered?
  [[nodiscard]] bool is_offered_by(const SegmentOffer& offer) const {
    return header().identity == offer.identity;
  }

  // Turns an offer into one more hold; false where it was accepted before.
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
    std::array<std::uint64_t, 2> identity;
    std::int64_t owner;
    std::atomic<std::uint32_t> holds;  // tensors' storages, and open offers
    std::atomic<std::uint32_t> is_retired;
    std::atomic<std::uint64_t> offers_made;
    std::array<std::atomic<std::uint64_t>, 32> offers;  // the numbers of those that are open; 0
  };
  static constexpr std::size_t kHeaderBytes = 320;  // a multiple of 64, for the alignment
  static_assert(sizeof(Header) <= kHeaderBytes);
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

  Segment(void* mapping, std::size_t mapped_bytes, FileDescriptor file);
  [[nodiscard]] Header& header() const { return *static_cast<Header*>(mapping_); }

  void* mapping_;
  std::size_t mapped_bytes_;
  std::size_t populated_bytes_ = 0;
  FileDescriptor file_;  // open in its owner alone: a mapping needs none
};

}  // namespace tensorlift
