"""Arrays on pinned memory: shared, recorded and sent from where they are, where that is safe."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

import tensorlift
from support.device_fixtures import NAME, needs_fake, same
from tensorlift import _C

BIG = 1 << 18  # float64 numbers: 2 MiB, which is sent on its own


def pinned(count: int, value: float) -> np.ndarray:
    array = tensorlift.empty_pinned(count, np.float64)
    array.fill(value)
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
    assert tensor.storage_offset() == 0
    assert (
        tensor.untyped_storage().nbytes()
        == torch.from_numpy(array[10:20:3]).untyped_storage().nbytes()
    )
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


def test_the_array_lives_as_long_as_the_tensor():
    class Mine(np.ndarray):
        pass

    array = pinned(1000, 3)
    part = array[:100].view(Mine)
    ended = []
    weakref.finalize(part, lambda: ended.append(True))
    (tensor,) = tensorlift.from_numpy([part])
    del part
    gc.collect()
    assert not ended
    assert tensor[0] == 3
    del tensor
    assert ended


def test_arrays_that_may_be_changed_are_staged():
    """Also frozen ones: there may be a view, a memoryview or a tensor that is not."""
    array = pinned(BIG, 3)
    view = array[:]
    array.flags.writeable = False
    (tensor,) = tensorlift.from_numpy([array], device=NAME)
    view.fill(4)
    assert bool((tensor.cpu() == 3).all())


def test_a_waiting_call_sends_them_from_where_they_are(fake):
    arrays = [pinned(BIG, 3), pinned(BIG, 4)[8:]]
    fake.reset_stats()
    tensors = tensorlift.from_numpy(arrays, device=NAME, non_blocking=False)
    stats = fake.stats()
    assert stats["h2d"] == 2
    assert _C.staging_bytes() == 0
    assert stats["record_event"] >= 3  # torch's own copies record one, we record both
    assert same(tensors, arrays)
    arrays[0].fill(5)
    assert bool((tensors[0].cpu() == 3).all())


def test_nothing_old_lies_behind_them():
    array = tensorlift.empty_pinned((1 << 20) + 3, np.uint8)
    array.fill(1)
    (tensor,) = tensorlift.from_numpy([array], device=NAME, non_blocking=False)
    assert tensor.untyped_storage().nbytes() == array.nbytes


def test_among_others_and_with_casts():
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 9, 1000),
        (pinned(BIG, 3)),
        rng.random((700, 900)),
        (pinned(10, 4)),
        (pinned(BIG, 5).reshape(512, -1).T),
    ]
    for waits in (True, False):
        assert same(tensorlift.from_numpy(arrays, device=NAME, non_blocking=not waits), arrays)
    narrowed = tensorlift.from_numpy(arrays, device=NAME, dtype=torch.float32, non_blocking=False)
    assert same(narrowed, [a.astype(np.float32) for a in arrays])
    tensorlift.set_staging(chunk_bytes=64 << 10)
    small = [(tensorlift.empty_pinned(BIG, np.uint8)) for _ in range(2)]
    assert same(
        tensorlift.from_numpy(
            [*small, arrays[0].astype(np.uint8)],
            device=NAME,
            dtype=torch.int64,
            non_blocking=False,
            pack=False,
        ),
        [*small, arrays[0]],
    )


@needs_fake
def test_no_pinned_memory(fake):
    fake.fail_pinned_allocation(0)
    with pytest.raises(RuntimeError, match="out of pinned memory"):
        tensorlift.empty_pinned(10, np.float32)
