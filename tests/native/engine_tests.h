// Engine tests: the parts of the core that several threads share, for a thread sanitizer. Each test
// ends the process where something does not hold.
#pragma once

namespace tensorlift::native {

void test_pool();      // workers
void test_copy();      // gather
void test_memory();    // block_cache, tensor_arena
void test_ring();      // staging
void test_segments();  // segment_pool, received_segments

}  // namespace tensorlift::native
