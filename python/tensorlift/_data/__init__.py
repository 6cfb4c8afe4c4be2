"""What data loaders need: samples to batches, trees of arrays, shared memory, prefetching."""
