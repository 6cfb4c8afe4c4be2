"""Is a cast of ours as fast as torch's own, for every pair of dtypes and for large arrays?

    python benchmarks/bench_cast.py [--seconds S] [--json FILE] [--quick] [--only TEXT]

Ours and each peer run turn by turn in one process; results are compared before anything is timed.
Pairs of dtypes: one thread, 64 Ki numbers, into memory that is there already, so that the loops
alone are compared. Large arrays: float64 to float32, into warm memory and into fresh memory.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

import harness
import tensorlift

rng = np.random.default_rng(0)

SOURCES = ("bool", "uint8", "int8", "int16", "int32", "int64")
SOURCES += ("float16", "bfloat16", "float32", "float64")
TARGETS = ("float32", "float16", "bfloat16", "int64")


def small_list() -> harness.Case:
    arrays = [rng.integers(0, 99, 64).astype(np.int32) for _ in range(1000)]
    dtype = torch.float32
    return harness.Case(
        "1000 x int32(64) to float32",
        1000,
        {
            "from_numpy(dtype=)": lambda: tensorlift.from_numpy(arrays, dtype=dtype),
            "[from_numpy(a).to(dtype)]": lambda: [torch.from_numpy(a).to(dtype) for a in arrays],
            "[from_numpy(a.astype(dtype))]": lambda: [
                torch.from_numpy(a.astype(np.float32)) for a in arrays
            ],
        },
        at_least=(9, 2.5),
    )


def pair(source: str, target: str) -> harness.Case:
    numbers = torch.from_numpy(rng.integers(0, 100, 64 << 10)).to(getattr(torch, source))
    dtype = getattr(torch, target)
    ours, theirs = (torch.empty((1, len(numbers)), dtype=dtype) for _ in range(2))

    def by_torch() -> list[torch.Tensor]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        theirs[0].copy_(numbers)
        torch.set_num_threads(threads)
        return [theirs]

    return harness.Case(
        f"{source} to {target}",
        len(numbers),
        {
            "tensorlift": lambda: [tensorlift.stack([numbers], dtype=dtype, out=ours, threads=1)],
            "Tensor.copy_": by_torch,
        },
    )


def large(mib: int, threads: int, *, warm: bool) -> harness.Case:
    numbers = rng.random(mib << 17)
    tensor = torch.from_numpy(numbers)
    out = torch.empty((1, len(numbers)), dtype=torch.float32) if warm else None
    into = torch.empty(len(numbers), dtype=torch.float32)

    def ours() -> list[torch.Tensor]:
        torch.set_num_threads(threads)
        return [tensorlift.stack([numbers], dtype=torch.float32, out=out)]

    def theirs() -> list[torch.Tensor]:
        torch.set_num_threads(threads)
        return [into.copy_(tensor)[None] if warm else tensor.to(torch.float32)[None]]

    return harness.Case(
        f"{mib} MiB float64 to float32, {threads} thread(s), {'warm' if warm else 'fresh'}",
        1,
        {"tensorlift.stack": ours, "Tensor.copy_" if warm else "Tensor.to": theirs},
        at_least=(1,) if warm else (None,),
    )


def main() -> None:
    options = harness.arguments(__doc__.splitlines()[0])
    sizes = (1,) if options.quick else (100, 400, 1000)
    pairs = [(s, t) for s in SOURCES for t in TARGETS if s != t]
    cases = [
        small_list,
        *(partial(pair, *names) for names in (pairs[:4] if options.quick else pairs)),
        *(partial(large, mib, threads, warm=True) for mib in sizes for threads in (1, 2)),
        *(partial(large, mib, threads, warm=False) for mib in sizes for threads in (1, 2)),
    ]
    harness.run(__doc__.splitlines()[0], cases, options)


if __name__ == "__main__":
    main()
