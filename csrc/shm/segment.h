// Segment: shared memory for tensors that are sent, and that is used again when no process needs it
// any more.
//
// One process, its owner, fills a segment. Whoever holds it may offer it to others: an offer is for
// one receiver, once. Whoever holds a segment releases it with the last storage over it; when
// nobody holds it and no offer is open, its owner may fill it again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "shm/segment_file.h"

namespace tensorlift {

// Which segment is offered. Plain numbers, to be sent.
struct SegmentOffer {
  FilePlace place;
  FileIdentity identity;
  std::uint32_t index;   // in its file
  std::uint32_t slot;    // where the offer stands as long as it is open
  std::uint64_t number;  // no other offer of the segment ever has it
  std::size_t nbytes;    // of elements
};

// A segment as one process sees it. Its methods may be called by any thread, without the GIL.
class Segment {
 public:
  Segment(std::shared_ptr<SegmentFile> file, std::size_t index)
      : file_(std::move(file)), index_(index) {}

  [[nodiscard]] SegmentFile& file() const { return *file_; }
  // What keeps it mapped.
  [[nodiscard]] const std::shared_ptr<SegmentFile>& mapping() const { return file_; }
  [[nodiscard]] std::size_t index() const { return index_; }
  // The elements, aligned to 64 bytes.
  [[nodiscard]] char* data() const { return file_->data(index_); }
  [[nodiscard]] std::size_t capacity() const { return file_->segment_bytes(); }

  // For its owner. Puts pages behind the first `nbytes`; false where there are none to be had.
  [[nodiscard]] bool populate(std::size_t nbytes) const { return file_->populate(index_, nbytes); }
  // For its owner, while nobody holds it or the owner alone: gives back the pages from `begin` on.
  void remove_pages(std::size_t begin) const;
  // How often that was done.
  [[nodiscard]] std::uint32_t removals() const { return header().removals.load(); }

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

  // Accepts what its owner has offered, and releases it: nobody can accept it any more. What others
  // have sent on stays.
  void withdraw_offers();

  // Ends a hold. The last one's pages go back if its owner does not need it any more.
  void release();

  // It is not used again, nor are its pages given back: a forked process may still read it.
  void retire();
  [[nodiscard]] bool is_retired() const { return header().is_retired.load() != 0; }

 private:
  [[nodiscard]] SegmentHeader& header() const { return file_->header(index_); }

  const std::shared_ptr<SegmentFile> file_;
  const std::size_t index_;
};

}  // namespace tensorlift
