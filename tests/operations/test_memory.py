"""Reused memory: bounded, given back on demand, never shared by two tensors that are alive."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import tensorlift
from tensorlift import _C

LIMIT = 64 << 20


def test_dead_copies_leave_bounded_memory_behind():
    tensorlift.empty_cache()
    assert _C.cached_bytes() == 0
    for n in (1 << 12, 1 << 16, 1 << 20, 3 << 20):
        tensors = tensorlift.from_numpy([np.zeros(n)] * 8, copy=True)
        del tensors
        assert 0 < _C.cached_bytes() <= LIMIT
    tensorlift.empty_cache()
    assert _C.cached_bytes() == 0


def test_living_tensors_never_share_memory():
    rng = np.random.default_rng(0)
    alive = {}
    for step in range(400):
        n = int(rng.integers(1, 40_000))
        (alive[step],) = tensorlift.from_numpy([np.full(n, step)], copy=True)
        if len(alive) > 30:
            del alive[int(rng.choice(list(alive)))]
        if step % 50 == 49:
            tensorlift.empty_cache()
            assert all((tensor == key).all() for key, tensor in alive.items())


def test_emptying_leaves_living_tensors_alone():
    (tensor,) = tensorlift.from_numpy([np.arange(100_000)], copy=True)
    tensorlift.empty_cache()
    assert tensor[-1] == 99_999


def test_a_copy_can_be_resized_like_any_tensor():
    (tensor,) = tensorlift.from_numpy([np.arange(10_000)], copy=True)
    tensor.resize_(50_000)
    assert tensor[:10_000].tolist() == list(range(10_000))
    tensor.set_(torch.zeros(3, dtype=torch.int64))
    assert tensor.tolist() == [0, 0, 0]


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_chunk_of_tensor_objects_serves_again():
    """Many lists, freed in any order: the memory of tensor objects is reused, not accumulated."""
    array = np.zeros(2)

    def churn(rounds):
        kept = []
        for _ in range(rounds):
            kept.append(tensorlift.from_numpy([array] * 1000)[::100])
            del kept[:-3]

    churn(30)
    before = resident_bytes()
    churn(300)
    assert resident_bytes() - before < 16 << 20  # a leak of every chunk would be 100 MiB


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_large_batches_are_given_back():
    tensorlift.empty_cache()
    array = np.ones(10 << 20)  # 80 MiB: more than is kept
    before = resident_bytes()
    for _ in range(3):
        batch = tensorlift.stack([array])
        assert batch[0, -1] == 1
        del batch
    assert resident_bytes() - before < 16 << 20
    assert _C.cached_bytes() == 0


def test_errors_give_the_memory_of_a_batch_back():
    tensorlift.empty_cache()
    arrays = [np.zeros(1 << 20), np.zeros(1)]
    for _ in range(20):
        with pytest.raises(ValueError, match="expected shape"):
            tensorlift.stack(arrays)
    assert _C.cached_bytes() == 0


def test_a_batch_that_cannot_be_had_is_a_clear_error():
    wide = np.broadcast_to(np.zeros(1), (1 << 40,))  # 8 TiB
    with pytest.raises(RuntimeError, match="memory"):
        tensorlift.stack([wide])
    with pytest.raises(ValueError, match="64 bits"):
        tensorlift.stack([np.broadcast_to(np.zeros(1), (1 << 59,))] * 1000)
