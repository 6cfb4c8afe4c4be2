// Test grain: builds for tests cut work so finely that a few elements are many pieces, blocks and
// threads, which is where a copy engine goes wrong. In every other build nothing changes.
#pragma once

namespace tensorlift {

#ifdef TENSORLIFT_TEST_GRAIN
inline constexpr bool kIsTestGrain = true;
#else
inline constexpr bool kIsTestGrain = false;
#endif

}  // namespace tensorlift
