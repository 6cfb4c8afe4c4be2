"""The suite `convert`: a list of arrays becomes a list of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from .. import from_numpy
from .harness import Array, Case, Settings, Suite, Ways, floats, shared

# The arrays of the plot of cost against their number.
_COUNTS = (1, 2, 8, 10, 100, 1000, 10_000, 100_000, 1_000_000)


def to_list(arrays: list[Array]) -> Ways:
    """Ours and torch's ways to share a list of arrays."""
    return {
        "tensorlift.from_numpy": lambda: from_numpy(arrays),
        "[torch.from_numpy]": lambda: shared(arrays),
        "[torch.as_tensor]": lambda: [torch.as_tensor(a) for a in arrays],
        "[torch.asarray]": lambda: [torch.asarray(a) for a in arrays],
        "[torch.from_dlpack]": lambda: [from_dlpack(a) for a in arrays],
    }


def _by_tensordict(arrays: Sequence[Array]) -> list[torch.Tensor]:
    from tensordict import TensorDict

    named: Any = TensorDict({str(i): array for i, array in enumerate(arrays)}, batch_size=[])
    return list(named.values())


def _vectors(n: int) -> Case:
    arrays = floats(n, 64)
    tensordict: Ways = {"TensorDict(dict)": lambda: _by_tensordict(arrays)}
    return Case(
        f"{n} x float32(64)",
        n,
        to_list(arrays),
        optional=tensordict if n == 1000 else {},
        at_least=(2.0,) if n == 1000 else (),
        plot="arrays",
        array_bytes=256,
    )


def _creation() -> Case:
    name = "1000 x float32(64), creation alone"
    return Case(name, 1000, to_list(floats(1000, 64)), with_release=False, at_least=(3.0,))


def _ragged(with_release: bool) -> Case:
    rng = np.random.default_rng(0)
    arrays = [rng.random(int(n), np.float32) for n in rng.integers(1, 257, 1000)]
    name = "1000 ragged float32" + ("" if with_release else ", creation alone")
    promise = 2.0 if with_release else 3.0
    return Case(name, 1000, to_list(arrays), with_release=with_release, at_least=(promise,))


def _mixed_dtypes() -> Case:
    dtypes = ("u1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "?")
    arrays: list[Array] = [np.ones(64, dtypes[i % len(dtypes)]) for i in range(1000)]
    return Case("1000 of 9 dtypes", 1000, to_list(arrays), at_least=(2.0,))


def _dimensions(ndim: int) -> Case:
    shape = {1: (64,), 2: (8, 8), 3: (4, 4, 4), 4: (2, 4, 2, 4)}[ndim]
    return Case(f"1000 x {ndim}-D float32", 1000, to_list(floats(1000, *shape)), at_least=(2.0,))


def _non_contiguous() -> Case:
    arrays: list[Array] = [a[::2, ::2].T for a in floats(1000, 16, 16)]
    return Case("1000 sliced and turned (8, 8)", 1000, to_list(arrays), at_least=(2.0,))


def to_copies(arrays: Sequence[Array]) -> Ways:
    """Ours and NumPy's ways to convert what torch refuses for its strides."""
    return {
        "tensorlift.from_numpy": lambda: from_numpy(arrays),
        "[from_numpy(a.copy())]": lambda: [torch.from_numpy(a.copy()) for a in arrays],
        "[from_numpy(ascontiguousarray(a))]": lambda: [
            torch.from_numpy(np.ascontiguousarray(a)) for a in arrays
        ],
    }


def _images() -> list[Array]:
    rng = np.random.default_rng(0)
    return [rng.random((64, 64)) for _ in range(256)]


def _mirrored() -> Case:
    arrays = [a[:, ::-1] for a in _images()]
    return Case("256 mirrored (64, 64) float64", 256, to_copies(arrays), at_least=(2.5,))


def _flipped() -> Case:
    arrays = [a[::-1] for a in _images()]
    return Case("256 flipped (64, 64) float64", 256, to_copies(arrays), at_least=(2.5,))


def _swapped() -> Case:
    arrays: list[Array] = [a.astype(">f8") for a in _images()]
    ways: Ways = {
        "tensorlift.from_numpy": lambda: from_numpy(arrays),
        "[from_numpy(a.astype(native))]": lambda: [
            torch.from_numpy(a.astype(np.float64)) for a in arrays
        ],
    }
    return Case("256 big-endian (64, 64)", 256, ways)


def _cases(settings: Settings) -> list[Callable[[], Case]]:
    counts = [n for n in _COUNTS if n != 1000 and (n <= 1000 or not settings.quick)]
    return [
        partial(_vectors, 1000),
        _creation,
        partial(_ragged, True),
        partial(_ragged, False),
        _mixed_dtypes,
        *(partial(_dimensions, ndim) for ndim in (1, 2, 3, 4)),
        _non_contiguous,
        *(partial(_vectors, n) for n in counts),
        _mirrored,
        _flipped,
        _swapped,
    ]


SUITE = Suite(
    "convert",
    "How much faster than a list comprehension does a list of arrays become a list of tensors?",
    _cases,
)
