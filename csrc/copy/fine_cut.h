// Fine cut: builds for tests cut work so finely that a few elements are many pieces, blocks and
// threads, which is where a copy engine goes wrong. In every other build nothing changes.
#pragma once

namespace tensorlift {

#ifdef TENSORLIFT_FINE_CUT
inline constexpr bool kIsCutFinely = true;
#else
inline constexpr bool kIsCutFinely = false;
#endif

}  // namespace tensorlift
