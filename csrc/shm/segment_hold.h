// A storage's hold on a segment: ends when the storage dies.
#pragma once

#include <c10/core/Allocator.h>

#include <memory>

#include "shm/segment.h"

namespace tensorlift {

// What is done with a segment of which this process has let go.
using AfterHold = void (*)(std::shared_ptr<Segment>) noexcept;

// The elements of a segment that the caller holds: the DataPtr takes the hold over. A process that
// forks meanwhile cannot know for how long the child reads what it has inherited: whichever of the
// two lets go first retires the segment.
[[nodiscard]] c10::DataPtr held(std::shared_ptr<Segment> segment, AfterHold after);

// The segment that memory belongs to; nullptr: to none.
[[nodiscard]] Segment* segment_of(const c10::DataPtr& memory);

}  // namespace tensorlift
