"""Arrays on pinned memory: shared, recorded and sent from where they are, where that is safe."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

import tensorlift
from device_fixtures import NAME, needs_fake, same
from tensorlift import _C

BIG = 1 << 18  # float64 numbers: 2 MiB, which is sent on its own


def pinned(count: int, value: float) -> np.ndarray:
    array = tensorlift.empty_pinned(count, np.float64)
    array.fill(value)
    return array


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def test_it_is_an_ordinary_array():
    array = tensorlift.empty_pinned((2, 3), "float32")
    assert (array.shape, array.dtype) == ((2, 3), np.float32)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    array[...] = 1
    assert array.sum() == 6
    assert tensorlift.empty_pinned((), np.int64).shape == ()
    assert tensorlift.empty_pinned((0, 5), np.int64).shape == (0, 5)
    assert tensorlift.empty_pinned(4, ">i2").dtype == np.dtype(">i2")


@pytest.mark.parametrize(
    ("shape", "dtype", "error", "text"),
    [
        ("a", np.float32, TypeError, "shape: expected an int or a tuple of ints, got 'a'"),
        ((2, -1), np.float32, ValueError, "shape: expected sizes that are not negative"),
        ((1 << 62, 1 << 62), np.float32, ValueError, "within 64 bits"),
        (3, object, TypeError, "dtype: expected a dtype of plain numbers"),
        (3, torch.float32, TypeError, "dtype: expected a NumPy dtype, got torch.float32"),
    ],
)
def test_bad_arguments(shape, dtype, error, text):
    with pytest.raises(error, match=text):
        tensorlift.empty_pinned(shape, dtype)


def test_memory_goes_with_its_last_user(fake):
    before = fake.live_pinned_bytes()
    array = pinned(1000, 1)
    (tensor,) = tensorlift.from_numpy([array[10:]])
    assert tensor.is_pinned()
    del array
    gc.collect()
    assert fake.live_pinned_bytes() > before
    assert tensor.tolist() == [1] * 990
    del tensor
    assert fake.live_pinned_bytes() == before


def test_a_part_is_shared():
    array = pinned(100, 0)
    (tensor,) = tensorlift.from_numpy([array[10:20:3]])
    assert tensor.shape == (4,)
    assert tensor.stride() == (3,)
    array[13] = 5
    assert tensor.tolist() == [0, 5, 0, 0]
    tensor[0] = 7
    assert array[10] == 7


@needs_fake
def test_torchs_own_transfer_of_a_part_is_recorded(fake):
    array = pinned(1000, 3)
    (tensor,) = tensorlift.from_numpy([array[100:]])
    fake.reset_stats()
    sent = tensor.to(NAME, non_blocking=True)
    assert fake.stats().get("record_event_miss", 0) == 0
    del tensor, array
    again = pinned(1000, 9)  # must not get the memory that is still read from
    assert sent.cpu().tolist() == [3] * 900
    assert again[0] == 9


def test_writeable_arrays_are_staged():
    array = pinned(BIG, 3)
    (tensor,) = tensorlift.from_numpy([array], device=NAME)
    array.fill(4)
    assert bool((tensor.cpu() == 3).all())


def test_read_only_views_of_writeable_arrays_are_staged():
    array = pinned(BIG, 3)
    (tensor,) = tensorlift.from_numpy([frozen(array[:])], device=NAME)
    array.fill(4)
    assert bool((tensor.cpu() == 3).all())


def test_read_only_arrays_are_sent_from_where_they_are(fake):
    arrays = [frozen(pinned(BIG, 3)), frozen(pinned(BIG, 4))[8:]]
    fake.reset_stats()
    tensors = tensorlift.from_numpy(arrays, device=NAME)
    assert fake.stats()["h2d"] == 2
    assert _C.staging_bytes() == 0
    stats = fake.stats()
    assert stats["record_event"] - stats["record_event_miss"] >= 2  # torch's own copy misses one
    assert same(tensors, arrays)


def test_their_memory_stays_until_it_was_sent(fake):
    arrays = [frozen(pinned(BIG, 3))[8:]]
    tensors = tensorlift.from_numpy(arrays, device=NAME)
    del arrays
    again = pinned(BIG, 9)
    assert bool((tensors[0].cpu() == 3).all())
    assert again[0] == 9


def test_a_waiting_call_sends_writeable_arrays_from_where_they_are(fake):
    array = pinned(BIG, 3)
    (tensor,) = tensorlift.from_numpy([array], device=NAME, non_blocking=False)
    assert _C.staging_bytes() == 0
    array.fill(4)
    assert bool((tensor.cpu() == 3).all())


def test_among_others_and_with_casts():
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 9, 1000),
        frozen(pinned(BIG, 3)),
        rng.random((700, 900)),
        frozen(pinned(10, 4)),
        frozen(pinned(BIG, 5).reshape(512, -1).T),
    ]
    assert same(tensorlift.from_numpy(arrays, device=NAME), arrays)
    narrowed = tensorlift.from_numpy(arrays, device=NAME, dtype=torch.float32)
    assert same(narrowed, [a.astype(np.float32) for a in arrays])
    tensorlift.staging(chunk_bytes=64 << 10)
    small = [frozen(tensorlift.empty_pinned(BIG, np.uint8)) for _ in range(2)]
    tensorlift.staging(own_storage_bytes=1000)
    assert same(
        tensorlift.from_numpy([*small, arrays[0].astype(np.uint8)], device=NAME, dtype=torch.int64),
        [*small, arrays[0]],
    )


@needs_fake
def test_no_pinned_memory(fake):
    fake.fail_pinned_allocation(0)
    with pytest.raises(RuntimeError, match="out of pinned memory"):
        tensorlift.empty_pinned(10, np.float32)
