#include "shm/send_segment.h"

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "errors.h"

namespace tensorlift {
namespace {

// Not one of the pool: for this message alone.
SentSegment send_copy(const SegmentHold& hold) {
  std::optional<Segment> copy = Segment::make(hold.nbytes());
  if (!copy || !copy->populate(hold.nbytes())) {
    throw RuntimeError("shared memory: expected " + std::to_string(hold.nbytes()) +
                       " bytes for a copy of what is sent, got none: " + std::strerror(errno) +
                       ".");
  }
  std::memcpy(copy->data(), hold.segment().data(), hold.nbytes());
  const std::optional<SegmentOffer> offer = copy->offer(hold.nbytes());
  copy->retire();
  FileDescriptor file = copy->file();
  if (!file.is_open() || !offer) {
    throw RuntimeError(std::string("shared memory: cannot send a batch: ") + std::strerror(errno) +
                       ".");
  }
  return {*offer, std::move(file)};
}

}  // namespace

SentSegment send_segment(const SegmentHold& hold, bool is_looked_up) {
  Segment& segment = hold.segment();
  const bool sends_file = !segment.is_owned() || !is_looked_up;
  FileDescriptor file = sends_file ? segment.file() : FileDescriptor(-1);
  if (sends_file && !file.is_open()) return send_copy(hold);
  const std::optional<SegmentOffer> offer = segment.offer(hold.nbytes());
  if (!offer) return send_copy(hold);
  return {*offer, std::move(file)};
}

}  // namespace tensorlift
