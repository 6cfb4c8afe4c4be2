// send_segment: what a process tells another one so that it can map a segment.
#pragma once

#include "shm/file_descriptor.h"
#include "shm/segment_hold.h"

namespace tensorlift {

struct SentSegment {
  SegmentOffer offer;
  FileDescriptor file;  // to be sent as well; not open: the receiver looks it up
};

// An offer of what is held. `is_looked_up`: may others look up the descriptors of this process?
// What cannot be offered is copied, and the copy is offered: a segment of which too many offers are
// open, or one of another process that does not let us look up its descriptor. The memory of
// tensors never moves. Throws RuntimeError where there is no memory or file for a copy. GIL not
// needed.
[[nodiscard]] SentSegment send_segment(const SegmentHold& hold, bool is_looked_up);

}  // namespace tensorlift
