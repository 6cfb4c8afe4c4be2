"""How much faster than a list comprehension does a list of arrays become a list of tensors?

    python benchmarks/bench_convert.py [--seconds S] [--json FILE] [--quick] [--only TEXT]

Ours and each peer run turn by turn in one process on the same arrays; results are compared before
anything is timed. A ratio above 1 means that ours is faster.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

import harness
import tensorlift

rng = np.random.default_rng(0)


def peers(arrays: list[np.ndarray]) -> dict[str, Callable[[], list[torch.Tensor]]]:
    return {
        "tensorlift.from_numpy": lambda: tensorlift.from_numpy(arrays),
        "[torch.from_numpy]": lambda: [torch.from_numpy(a) for a in arrays],
        "[torch.as_tensor]": lambda: [torch.as_tensor(a) for a in arrays],
        "[torch.asarray]": lambda: [torch.asarray(a) for a in arrays],
        "[torch.from_dlpack]": lambda: [torch.from_dlpack(a) for a in arrays],
    }


def shared(name: str, arrays: list[np.ndarray], **promise: Any) -> harness.Case:
    return harness.Case(name, len(arrays), peers(arrays), **promise)


def floats(n: int) -> harness.Case:
    return shared(
        f"{n} x float32(64)",
        [rng.random(64, np.float32) for _ in range(n)],
        at_least=(2.2,) if n == 1000 else (),
    )


def creation() -> harness.Case:
    arrays = [rng.random(64, np.float32) for _ in range(1000)]
    name = "1000 x float32(64), creation alone"
    return shared(name, arrays, with_release=False, at_least=(3.3,))


def ragged(with_release: bool) -> harness.Case:
    arrays = [rng.random(int(n), np.float32) for n in rng.integers(1, 257, 1000)]
    name = "1000 ragged float32" + ("" if with_release else ", creation alone")
    return shared(name, arrays, with_release=with_release, at_least=(2.2 if with_release else 3.3,))


def mixed_dtypes() -> harness.Case:
    dtypes = ("u1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "?")
    arrays = [np.ones(64, dtypes[i % len(dtypes)]) for i in range(1000)]
    return shared("1000 of 9 dtypes", arrays, at_least=(2.2,))


def dimensions(ndim: int) -> harness.Case:
    shape = {1: (64,), 2: (8, 8), 3: (4, 4, 4), 4: (2, 4, 2, 4)}[ndim]
    arrays = [np.ones(shape, np.float32) for _ in range(1000)]
    return shared(f"1000 x {ndim}-D float32", arrays, at_least=(2.2,))


def non_contiguous() -> harness.Case:
    arrays = [np.ones((16, 16), np.float32)[::2, ::2].T for _ in range(1000)]
    return shared("1000 sliced and turned (8, 8)", arrays, at_least=(2.2,))


def copied(name: str, arrays: list[np.ndarray], *at_least: float) -> harness.Case:
    return harness.Case(
        name,
        len(arrays),
        {
            "tensorlift.from_numpy": lambda: tensorlift.from_numpy(arrays),
            "[from_numpy(a.copy())]": lambda: [torch.from_numpy(a.copy()) for a in arrays],
            "[from_numpy(ascontiguousarray(a))]": lambda: [
                torch.from_numpy(np.ascontiguousarray(a)) for a in arrays
            ],
        },
        at_least=at_least,
    )


def swapped() -> harness.Case:
    arrays = [rng.random((64, 64)).astype(">f8") for _ in range(256)]
    return harness.Case(
        "256 big-endian (64, 64)",
        len(arrays),
        {
            "tensorlift.from_numpy": lambda: tensorlift.from_numpy(arrays),
            "[from_numpy(a.astype(native))]": lambda: [
                torch.from_numpy(a.astype(np.float64)) for a in arrays
            ],
        },
    )


def main() -> None:
    options = harness.arguments(__doc__.splitlines()[0])
    sizes = (10, 1000) if options.quick else (10, 1000, 100_000, 1_000_000)
    images = [rng.random((64, 64)) for _ in range(256)]
    cases = [
        partial(floats, 1000),
        creation,
        partial(ragged, True),
        partial(ragged, False),
        mixed_dtypes,
        *(partial(dimensions, ndim) for ndim in (1, 2, 3, 4)),
        non_contiguous,
        *(partial(floats, n) for n in (1, 2, 8)),
        *(partial(floats, n) for n in sizes if n != 1000),
        partial(copied, "256 mirrored (64, 64) float64", [a[:, ::-1] for a in images], 2.5),
        partial(copied, "256 flipped (64, 64) float64", [a[::-1] for a in images], 2.5),
        swapped,
    ]
    harness.run(__doc__.splitlines()[0], cases, options)


if __name__ == "__main__":
    main()
