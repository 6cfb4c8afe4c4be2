"""Sizes at which counters overflow: 2^31 elements and bytes, 64 dimensions, strides of 64 bits.

Those that take gigabytes are long tests, and skipped where there is not enough memory.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

import tensorlift
from tensorlift._cli.machine import available_memory

NEEDED = 8 << 30  # bytes, with some to spare


def long(test):
    available = available_memory()
    too_little = available is not None and available < NEEDED
    too_little |= "TENSORLIFT_TEST_SANITIZED" in os.environ  # which take a multiple of it
    return pytest.mark.long(pytest.mark.skipif(too_little, reason="needs 8 GiB of memory")(test))


as_strided = np.lib.stride_tricks.as_strided
OVER = (1 << 31) + 5  # elements, and bytes of uint8


def wide(n: int = OVER) -> np.ndarray:
    """One byte, n times."""
    return np.broadcast_to(np.full(1, 3, np.uint8), (n,))


# ---- more than 2^31


def test_views_of_more_elements_than_32_bits_count():
    (tensor,) = tensorlift.from_numpy([wide()], readonly="share")
    assert tensor.shape == (OVER,)
    assert tensor.stride() == (0,)
    assert tensor[-1] == 3
    (square,) = tensorlift.from_numpy(
        [np.broadcast_to(np.uint8(2), (1 << 20, 1 << 20, 1 << 20))], readonly="share"
    )
    assert square.numel() == 1 << 60
    entry = tensorlift.explain([wide()[::-1]])[0]
    assert (entry.action, entry.nbytes) in {("copied", OVER), ("shared", 1)}
    explanation = tensorlift.explain([wide()] * 3, operation="stack")
    assert explanation.shape == (3, OVER)


def test_strides_beyond_32_bits():
    """Two elements, gigabytes apart, in memory that nobody touches in between."""
    memory = np.zeros(OVER + (1 << 31), np.uint8)  # the system gives pages when they are used
    apart = memory[:: OVER - 1][:2]
    apart[:] = 1, 2
    assert tensorlift.from_numpy([apart])[0].tolist() == [1, 2]
    assert tensorlift.stack([apart, apart[::-1]]).tolist() == [[1, 2], [2, 1]]
    out = torch.from_numpy(memory)[1 :: OVER - 1][:2].view(1, 2)
    tensorlift.stack([apart], out=out)
    assert memory[1] == 1
    assert memory[OVER] == 2


@long
def test_copies_of_more_bytes_than_32_bits_count():
    memory = np.zeros(OVER, np.uint8)
    memory[[0, -1]] = 1, 2
    (copied,) = tensorlift.from_numpy([memory[::-1]])
    assert (copied[0], copied[-1], copied.count_nonzero()) == (2, 1, 2)


@long
@pytest.mark.parametrize("threads", [1, 2])
def test_batches_of_more_elements_than_32_bits_count(threads):
    joined = tensorlift.cat([wide(), np.arange(5, dtype=np.uint8)], threads=threads)
    assert joined.shape == (OVER + 5,)
    assert joined[-6:].tolist() == [3, 0, 1, 2, 3, 4]
    assert (joined[: 1 << 31] == 3).all()


@long
def test_offsets_beyond_32_bits():
    values, offsets = tensorlift.jagged([wide(), np.arange(5, dtype=np.uint8), wide(7)])
    assert offsets.tolist() == [0, OVER, OVER + 5, OVER + 12]
    assert values[OVER : OVER + 6].tolist() == [0, 1, 2, 3, 4, 3]


@long
def test_slots_beyond_32_bits():
    batch, sizes = tensorlift.pad(
        [np.ones(2, np.uint8), wide()], padding_value=9, padding_side="left"
    )
    assert sizes.tolist() == [[2], [OVER]]
    assert batch[0, -3:].tolist() == [9, 1, 1]
    assert batch[1, [0, -1]].tolist() == [3, 3]


@long
def test_casts_of_more_elements_than_32_bits_count():
    source = np.zeros(OVER, bool)
    source[[0, -1]] = True
    (cast,) = tensorlift.from_numpy([source], dtype=torch.uint8, threads=2)
    assert (cast[0], cast[-1], cast.count_nonzero()) == (1, 1, 2)


# ---- many dimensions


@pytest.mark.parametrize("ndim", [31, 32, 33, 63, 64])
def test_as_many_dimensions_as_numpy_has(ndim):
    if ndim > 32 and np.lib.NumpyVersion(np.__version__) < "2.0.0":
        pytest.skip("NumPy 1 has 32 dimensions")
    shape = (2,) + (1,) * (ndim - 3) + (3, 2)
    array = np.arange(12.0).reshape(shape)
    (shared,) = tensorlift.from_numpy([array])
    assert shared.data_ptr() == array.ctypes.data
    assert shared.shape == shape
    turned = array.T[::-1]
    (copied,) = tensorlift.from_numpy([turned], dtype=torch.float32)
    assert copied.flatten().tolist() == turned.flatten().tolist()
    flat = array.flatten().tolist()
    assert tensorlift.stack([array, array]).flatten().tolist() == flat * 2
    assert tensorlift.stack([array] * 2, dim=-1).shape == (*shape, 2)
    assert tensorlift.cat([array, array], dim=0).flatten().tolist() == flat * 2
    assert tensorlift.pad([array, array[:1]]).sizes.shape == (2, ndim)
    assert tensorlift.jagged([array, array[:1]]).values.shape == (3, *shape[1:])
    assert len(tensorlift.explain([array])[0].shape) == ndim


def test_as_many_dimensions_of_two():
    """No two of which merge: 2^20 elements, in an order of their own."""
    array = np.arange(1 << 20, dtype=np.int32).reshape((2,) * 20)
    turned = array.transpose(np.random.default_rng(0).permutation(20))
    assert tensorlift.stack([turned])[0].flatten().tolist() == turned.flatten().tolist()


# ---- nothing, of great size


@pytest.mark.parametrize(
    "shape", [(0, 1 << 59), (1 << 59, 0), (3, 0, 1 << 30, 1 << 25), (0,) * 30, (1 << 59, 0, 0)]
)
def test_no_elements_of_any_shape(shape):
    array = as_strided(np.zeros(1), shape, (8,) * len(shape))
    (shared,) = tensorlift.from_numpy([array])
    assert shared.shape == shape
    (copied,) = tensorlift.from_numpy([array], copy=True, dtype=torch.int8)
    assert copied.shape == shape
    assert tensorlift.stack([array] * 2).shape == (2, *shape)
    for call in (tensorlift.cat, tensorlift.pad, tensorlift.jagged):
        try:
            call([array, array])
        except (ValueError, RuntimeError) as error:  # twice the size may be more than 64 bits
            assert "64 bits" in str(error)  # noqa: PT017


# ---- strides whose products overflow


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((3,), (1 << 62,)),
        ((3,), (-(1 << 62),)),
        ((2,), (-(1 << 63),)),
        ((1 << 40, 2), (1 << 40, 8)),
        ((2, 2, 2), ((1 << 62), (1 << 62), 8)),
        ((2, 2, 2, 2), (1 << 61, 1 << 61, -(1 << 62), -(1 << 62))),
        ((2, 2), (1 << 62, -(1 << 62) - 8)),
        ((1 << 31, 1 << 31), (1 << 33, 1)),
    ],
)
def test_strides_that_overflow_are_refused(shape, strides):
    array = as_strided(np.zeros(1, np.uint8), shape, strides)
    with pytest.raises(ValueError, match=r"^arrays\[0\]: expected strides within 64 bits"):
        tensorlift.from_numpy([array])
    for call in (tensorlift.stack, tensorlift.cat, tensorlift.pad, tensorlift.jagged):
        with pytest.raises(ValueError, match=r"^arrays\[0\]: expected strides within 64 bits"):
            call([array])
    assert tensorlift.explain([array]).rejected == 1


def test_results_that_overflow_are_refused():
    huge = np.broadcast_to(np.zeros(1, np.uint8), (1 << 61,))
    with pytest.raises(ValueError, match="64 bits"):
        tensorlift.stack([huge] * 8)
    with pytest.raises(ValueError, match="64 bits"):
        tensorlift.cat([huge] * 4, dtype=torch.float64)
    with pytest.raises((ValueError, RuntimeError), match=r"64 bits|memory"):
        tensorlift.pad([huge], pad_to_multiple_of=(1 << 62) + 1)
    with pytest.raises((ValueError, RuntimeError), match=r"64 bits|memory"):
        tensorlift.from_numpy([huge], copy=True, dtype=torch.complex128)
