#include "shm/send_segment.h"

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "errors.h"

namespace tensorlift {
namespace {

// In a file for this message alone.
SentSegment send_copy(const SegmentHold& hold) {
  const std::shared_ptr<SegmentFile> file = SegmentFile::make(1, hold.nbytes());
  if (file == nullptr || !file->populate(0, hold.nbytes())) {
    throw RuntimeError("shared memory: expected " + std::to_string(hold.nbytes()) +
                       " bytes for a copy of what is sent, got none: " + std::strerror(errno) +
                       ".");
  }
  Segment copy(file, 0);
  std::memcpy(copy.data(), hold.segment().data(), hold.nbytes());
  const std::optional<SegmentOffer> offer = copy.offer(hold.nbytes());
  file->forget();
  FileDescriptor descriptor = file->descriptor();
  if (!descriptor.is_open() || !offer) {
    throw RuntimeError(std::string("shared memory: cannot send a batch: ") + std::strerror(errno) +
                       ".");
  }
  return {*offer, std::move(descriptor)};
}

}  // namespace

SentSegment send_segment(const SegmentHold& hold, bool is_looked_up) {
  Segment& segment = hold.segment();
  const bool sends_file = !segment.file().is_owned() || !is_looked_up;
  FileDescriptor file = sends_file ? segment.file().descriptor() : FileDescriptor(-1);
  if (sends_file && !file.is_open()) return send_copy(hold);
  const std::optional<SegmentOffer> offer = segment.offer(hold.nbytes());
  if (!offer) return send_copy(hold);
  return {*offer, std::move(file)};
}

}  // namespace tensorlift
