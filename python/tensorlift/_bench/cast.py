"""The suite `cast`: arrays become tensors of another dtype.

Pairs of dtypes: one thread, 64 Ki numbers, into memory that is there already, so that the loops
alone are compared. Large arrays: float64 to float32, into warm memory and into fresh memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from .. import from_numpy, stack
from .._cli import machine
from .harness import Array, Case, Settings, Suite, Ways

_SOURCES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64"),
)
_TARGETS = ("float32", "float16", "bfloat16", "int64")


def _small_list() -> Case:
    rng = np.random.default_rng(0)
    arrays: list[Array] = [rng.integers(0, 99, 64).astype(np.int32) for _ in range(1000)]
    dtype = torch.float32
    ways: Ways = {
        "from_numpy(dtype=)": lambda: from_numpy(arrays, dtype=dtype),
        "[from_numpy(a).to(dtype)]": lambda: [torch.from_numpy(a).to(dtype) for a in arrays],
        "[from_numpy(a.astype(dtype))]": lambda: [
            torch.from_numpy(a.astype(np.float32)) for a in arrays
        ],
    }
    return Case("1000 x int32(64) to float32", 1000, ways, at_least=(9, 2.5))


def _pair(source: str, target: str) -> Case:
    rng = np.random.default_rng(0)
    numbers = torch.from_numpy(rng.integers(0, 100, 64 << 10)).to(getattr(torch, source))
    dtype = getattr(torch, target)
    ours, theirs = (torch.empty((1, len(numbers)), dtype=dtype) for _ in range(2))

    def by_torch() -> Sequence[torch.Tensor]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        theirs[0].copy_(numbers)
        torch.set_num_threads(threads)
        return [theirs]

    ways: Ways = {
        "tensorlift": lambda: [stack([numbers], dtype=dtype, out=ours, threads=1)],
        "Tensor.copy_": by_torch,
    }
    return Case(f"{source} to {target}", len(numbers), ways)


def _large(mib: int, threads: int, *, warm: bool) -> Case:
    numbers = np.random.default_rng(0).random(mib << 17)
    tensor = torch.from_numpy(numbers)
    out = torch.empty((1, len(numbers)), dtype=torch.float32) if warm else None
    into = torch.empty(len(numbers), dtype=torch.float32)

    def ours() -> Sequence[torch.Tensor]:
        torch.set_num_threads(threads)
        return [stack([numbers], dtype=torch.float32, out=out)]

    def theirs() -> Sequence[torch.Tensor]:
        torch.set_num_threads(threads)
        return [into.copy_(tensor)[None] if warm else tensor.to(torch.float32)[None]]

    return Case(
        f"{mib} MiB float64 to float32, {threads} thread(s), {'warm' if warm else 'fresh'}",
        1,
        {"tensorlift.stack": ours, "Tensor.copy_" if warm else "Tensor.to": theirs},
        at_least=(1,) if warm else (None,),
    )


def _cases(settings: Settings) -> list[Callable[[], Case]]:
    memory = machine.available_memory()
    wanted = (1,) if settings.quick else (100, 400, 1000)
    sizes = [mib for mib in wanted if memory is None or mib << 22 < memory]
    threads = sorted({1, 2, torch.get_num_threads()})
    pairs = [(s, t) for s in _SOURCES for t in _TARGETS if s != t]
    return [
        _small_list,
        *(partial(_pair, *names) for names in (pairs[:4] if settings.quick else pairs)),
        *(partial(_large, mib, n, warm=True) for mib in sizes for n in threads),
        *(partial(_large, mib, n, warm=False) for mib in sizes for n in threads),
    ]


SUITE = Suite(
    "cast",
    "Is a cast of ours as fast as torch's own, for every pair of dtypes and for large arrays?",
    _cases,
)
