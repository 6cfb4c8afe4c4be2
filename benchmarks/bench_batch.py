"""How much faster does a list of arrays become one tensor than with torch's and NumPy's own calls?

    python benchmarks/bench_batch.py [--seconds S] [--json FILE] [--quick] [--only TEXT]

Ours and each peer run turn by turn in one process on the same arrays; results are compared before
anything is timed. A ratio above 1 means that ours is faster. At the end: how the cost of an array
grows with their number, and the peak memory of one large stack in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

import harness
import tensorlift

rng = np.random.default_rng(0)


def shared(arrays: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(a) for a in arrays]


def stacks(arrays: list[np.ndarray]) -> harness.Ways:
    return {
        "tensorlift.stack": lambda: [tensorlift.stack(arrays)],
        "torch.stack([from_numpy])": lambda: [torch.stack(shared(arrays))],
        "from_numpy(np.array(list))": lambda: [torch.from_numpy(np.array(arrays))],
        "from_numpy(np.stack(list))": lambda: [torch.from_numpy(np.stack(arrays))],
    }


def stack_small() -> harness.Case:
    arrays = [rng.random(64, np.float32) for _ in range(1000)]
    return harness.Case("stack 1000 x float32(64)", 1000, stacks(arrays), at_least=(22, 3.5, None))


def stack_medium() -> harness.Case:
    arrays = [rng.random((3, 32, 32), np.float32) for _ in range(256)]
    return harness.Case("stack 256 x float32(3,32,32)", 256, stacks(arrays), at_least=(2, 1, 1))


def images() -> list[np.ndarray]:
    return [rng.integers(0, 256, (224, 224, 3)).astype(np.uint8) for _ in range(64)]


def stack_images() -> harness.Case:
    return harness.Case("stack 64 x uint8(224,224,3)", 64, stacks(images()), at_least=(1, 1, 1))


def stack_images_out() -> harness.Case:
    arrays = images()
    joined = np.stack(arrays)
    out = torch.empty(joined.shape, dtype=torch.uint8)
    torch_out, numpy_out = torch.empty_like(out), np.empty_like(joined)

    def copyto() -> list[torch.Tensor]:
        np.copyto(numpy_out, joined)
        return [torch.from_numpy(numpy_out)]

    return harness.Case(
        "the same into out=",
        64,
        {
            "tensorlift.stack(out=)": lambda: [tensorlift.stack(arrays, out=out)],
            "np.copyto of the same bytes": copyto,
            "torch.stack(out=)": lambda: [torch.stack(shared(arrays), out=torch_out)],
        },
        at_least=(0.9, None),
    )


def stack_images_floats() -> harness.Case:
    arrays = images()
    return harness.Case(
        "the same to float32",
        64,
        {
            "tensorlift.stack(dtype=)": lambda: [tensorlift.stack(arrays, dtype=torch.float32)],
            "torch.stack().to(float32)": lambda: [torch.stack(shared(arrays)).to(torch.float32)],
        },
        at_least=(1.7,),
    )


def channels_last() -> harness.Case:
    arrays = [np.ascontiguousarray(image.transpose(2, 0, 1)) for image in images()]
    layout = torch.channels_last
    return harness.Case(
        "64 x CHW to channels_last",
        64,
        {
            "stack(memory_format=)": lambda: [tensorlift.stack(arrays, memory_format=layout)],
            "torch.stack().contiguous()": lambda: [
                torch.stack(shared(arrays)).contiguous(memory_format=layout)
            ],
        },
    )


def hwc_to_chw() -> harness.Case:
    arrays = images()
    return harness.Case(
        "64 x HWC to contiguous CHW",
        64,
        {
            "stack(channel_dim=-1)": lambda: [tensorlift.stack(arrays, channel_dim=-1)],
            "torch.stack().permute().contiguous()": lambda: [
                torch.stack(shared(arrays)).permute(0, 3, 1, 2).contiguous()
            ],
        },
    )


def inner_dim() -> harness.Case:
    arrays = [rng.random((256, 64), np.float32) for _ in range(64)]
    return harness.Case(
        "stack 64 x float32(256,64), dim=1",
        64,
        {
            "tensorlift.stack": lambda: [tensorlift.stack(arrays, 1)],
            "torch.stack([from_numpy])": lambda: [torch.stack(shared(arrays), 1)],
        },
    )


def mixed() -> harness.Case:
    dtypes = (np.float32, np.int32, np.uint8)
    arrays = [np.ones((32, 32), dtypes[i % 3]) for i in range(300)]
    return harness.Case(
        "cat 300 x (32,32) of 3 dtypes",
        300,
        {
            "tensorlift.cat": lambda: [tensorlift.cat(arrays)],
            "torch.cat([from_numpy])": lambda: [torch.cat(shared(arrays))],
        },
    )


def sequences() -> list[np.ndarray]:
    return [rng.integers(0, 50_000, int(n)) for n in rng.integers(10, 513, 256)]


def padded() -> harness.Case:
    arrays = sequences()
    return harness.Case(
        "pad 256 x int64(10..512)",
        256,
        {
            "tensorlift.pad": lambda: [tensorlift.pad(arrays).batch],
            "pad_sequence([from_numpy])": lambda: [pad_sequence(shared(arrays), batch_first=True)],
        },
        at_least=(10,),
    )


def nested() -> harness.Case:
    arrays = sequences()

    def by_torch() -> list[torch.Tensor]:
        joined = torch.nested.nested_tensor(shared(arrays), layout=torch.jagged)
        return [joined.values(), joined.offsets()]

    def by_numpy() -> list[torch.Tensor]:
        offsets = np.cumsum([0, *map(len, arrays)])
        return [torch.from_numpy(np.concatenate(arrays)), torch.from_numpy(offsets)]

    return harness.Case(
        "jagged 256 x int64(10..512)",
        256,
        {
            "tensorlift.jagged": lambda: list(tensorlift.jagged(arrays)),
            "nested_tensor(layout=jagged)": by_torch,
            "np.concatenate, cumsum": by_numpy,
        },
        at_least=(10, 1),
    )


def tiny(n: int) -> harness.Case:
    arrays = [rng.random(64, np.float32) for _ in range(n)]
    return harness.Case(f"stack {n} x float32(64)", n, stacks(arrays), at_least=(1, None, None))


def many(n: int) -> harness.Case:
    arrays = list(rng.random((n, 16), np.float32))
    ways = stacks(arrays)
    del ways["from_numpy(np.stack(list))"]
    return harness.Case(f"stack {n} x float32(16)", n, ways)


PEAK = r"""
import re
import numpy as np, torch, tensorlift
arrays = [np.ones(({rows}, 1024), np.float32) for _ in range(64)]
tensorlift.stack([a[:1] for a in arrays])  # what is loaded at the first call
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
before = peak()
result = tensorlift.stack(arrays)
print((peak() - before) / (result.nbytes))
"""


def peak_memory(quick: bool) -> dict[str, Any]:
    """How far the process's peak rises in one stack, in sizes of its result. Linux only."""
    code = PEAK.format(rows=64 if quick else 2048)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ratio = float(run.stdout)
    print(f"\nPeak memory of stack(64 x float32): {ratio:.2f} of the result's own size.")
    if ratio > 1.5:
        raise SystemExit("stack made a second copy on its way")
    return {"case": "peak memory of stack", "in_results": ratio}


def main() -> None:
    options = harness.arguments(__doc__.splitlines()[0])
    sizes = (1000, 10_000) if options.quick else (1000, 10_000, 100_000, 1_000_000)
    cases = [
        stack_small,
        stack_medium,
        stack_images,
        stack_images_out,
        stack_images_floats,
        channels_last,
        hwc_to_chw,
        inner_dim,
        mixed,
        padded,
        nested,
        *(partial(tiny, n) for n in (1, 2, 4, 8)),
        *(partial(many, n) for n in sizes),
    ]
    harness.run(__doc__.splitlines()[0], cases, options, after=peak_memory)


if __name__ == "__main__":
    main()
