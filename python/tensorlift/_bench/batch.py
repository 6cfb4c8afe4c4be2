"""The suite `batch`: a list of arrays becomes one tensor.

Beside the table: the peak memory of one large stack in a process of its own, and how fast this
machine copies as many bytes in one piece.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from .. import cat, jagged, pad, stack
from .._cli.errors import CommandError
from .._cli.timing import compare
from .._text import format_bytes
from .harness import (
    Array,
    Case,
    Extra,
    Settings,
    Suite,
    Ways,
    floats,
    photos,
    shared,
)

# What the plot of throughput against the arrays' size stacks, and its sizes.
_STACKED_BYTES = 32 << 20
_SIZES = (64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 8 << 20)
# The arrays of the plot of cost against their number.
_COUNTS = (1, 2, 4, 8, 100, 10_000, 100_000)


def stacking(arrays: Sequence[Array]) -> Ways:
    """Ours, torch's and NumPy's ways to stack a list of arrays."""
    return {
        "tensorlift.stack": lambda: [stack(arrays)],
        "torch.stack([from_numpy])": lambda: [torch.stack(shared(arrays))],
        "from_numpy(np.array(list))": lambda: [torch.from_numpy(np.array(arrays))],
        "from_numpy(np.stack(list))": lambda: [torch.from_numpy(np.stack(arrays))],
    }


def _vectors(n: int) -> Case:
    promise = (22, 3.5, None) if n == 1000 else (1, None, None)
    return Case(
        f"stack {n} x float32(64)",
        n,
        stacking(floats(n, 64)),
        at_least=promise if n <= 1000 else (),
        plot="arrays",
        array_bytes=256,
    )


def _stack_medium() -> Case:
    ways = stacking(floats(256, 3, 32, 32))
    return Case("stack 256 x float32(3,32,32)", 256, ways, at_least=(2, 1, 1))


def _stack_images() -> Case:
    return Case("stack 64 x uint8(224,224,3)", 64, stacking(photos(64)), at_least=(1, 1, 1))


def _stack_images_out() -> Case:
    arrays = photos(64)
    joined = np.stack(arrays)
    out = torch.from_numpy(np.empty_like(joined))
    torch_out, numpy_out = torch.empty_like(out), np.empty_like(joined)

    def copyto() -> list[torch.Tensor]:
        np.copyto(numpy_out, joined)
        return [torch.from_numpy(numpy_out)]

    ways: Ways = {
        "tensorlift.stack(out=)": lambda: [stack(arrays, out=out)],
        "np.copyto of the same bytes": copyto,
        "torch.stack(out=)": lambda: [torch.stack(shared(arrays), out=torch_out)],
    }
    return Case("the same into out=", 64, ways, at_least=(0.9, None))


def _stack_images_floats() -> Case:
    arrays = photos(64)
    return Case(
        "the same to float32",
        64,
        {
            "tensorlift.stack(dtype=)": lambda: [stack(arrays, dtype=torch.float32)],
            "torch.stack().to(float32)": lambda: [torch.stack(shared(arrays)).to(torch.float32)],
        },
        at_least=(1.7,),
    )


# Of ImageNet's red, green and blue.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _normalized(arrays: Sequence[Array], **options: Any) -> torch.Tensor:
    return stack(arrays, channel_dim=-1, scale=1 / 255, mean=_MEAN, std=_STD, **options)


def _normalized_by_torch(arrays: Sequence[Array]) -> torch.Tensor:
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (_MEAN, _STD))
    batch = torch.stack(shared(arrays)).permute(0, 3, 1, 2).float()
    return batch.mul_(1 / 255).sub_(mean).div_(std)


def _normalize_images(dtype: torch.dtype) -> Case:
    arrays = photos(64)
    return Case(
        f"normalize 64 x HWC to {str(dtype).removeprefix('torch.')} CHW",
        64,
        {
            "stack(scale=, mean=, std=)": lambda: [_normalized(arrays, dtype=dtype)],
            "stack, permute, float, normalize": lambda: [_normalized_by_torch(arrays).to(dtype)],
        },
        at_least=(5,),
    )


def _normalize_images_out(dtype: torch.dtype) -> Case:
    """Beside a copy of the bytes that are written, into memory that is there already."""
    arrays = photos(64)
    normalized = _normalized(arrays, dtype=dtype)
    out, torch_out = torch.empty_like(normalized), torch.empty_like(normalized)
    copied = torch.empty_like(normalized)
    bits = torch.float32 if dtype == torch.float32 else torch.int16  # NumPy has no bfloat16
    source, numpy_out = normalized.view(bits).numpy(), copied.view(bits).numpy()

    def copyto() -> list[torch.Tensor]:
        np.copyto(numpy_out, source)
        return [copied]

    return Case(
        f"the same {str(dtype).removeprefix('torch.')} into out=",
        64,
        {
            "stack(scale=, mean=, std=, out=)": lambda: [_normalized(arrays, out=out)],
            "np.copyto of the bytes written": copyto,
            "Tensor.copy_ of the bytes written": lambda: [torch_out.copy_(normalized)],
        },
        at_least=(0.8, 0.8),
    )


def _pad_images() -> Case:
    """As detectors take them: the largest image's size, with a mask."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(160, 257, (32, 2))
    arrays = [rng.integers(0, 256, (height, width, 3), np.uint8) for height, width in sizes]

    def ours() -> list[torch.Tensor]:
        padded = pad(
            arrays,
            channel_dim=-1,
            scale=1 / 255,
            mean=_MEAN,
            std=_STD,
            mask=True,
            mask_dim=(1, 2),
        )
        return [padded.batch, padded.mask]

    def by_torch() -> list[torch.Tensor]:
        height, width = (max(array.shape[d] for array in arrays) for d in (0, 1))
        batch = torch.zeros(len(arrays), 3, height, width)
        mask = torch.zeros(len(arrays), height, width, dtype=torch.bool)
        for slot, where, array in zip(batch, mask, arrays, strict=True):
            h, w, _ = array.shape
            slot[:, :h, :w].copy_(_normalized_by_torch([array])[0])
            where[:h, :w] = True
        return [batch, mask]

    return Case(
        "normalize and pad 32 x HWC, with a mask",
        32,
        {"pad(scale=, mean=, std=, mask=)": ours, "image by image": by_torch},
    )


def _channels_last() -> Case:
    arrays = [np.ascontiguousarray(image.transpose(2, 0, 1)) for image in photos(64)]
    layout = torch.channels_last
    return Case(
        "64 x CHW to channels_last",
        64,
        {
            "stack(memory_format=)": lambda: [stack(arrays, memory_format=layout)],
            "torch.stack().contiguous()": lambda: [
                torch.stack(shared(arrays)).contiguous(memory_format=layout)
            ],
        },
    )


def _hwc_to_chw() -> Case:
    arrays = photos(64)
    return Case(
        "64 x HWC to contiguous CHW",
        64,
        {
            "stack(channel_dim=-1)": lambda: [stack(arrays, channel_dim=-1)],
            "torch.stack().permute().contiguous()": lambda: [
                torch.stack(shared(arrays)).permute(0, 3, 1, 2).contiguous()
            ],
        },
    )


def _inner_dim() -> Case:
    arrays = floats(64, 256, 64)
    return Case(
        "stack 64 x float32(256,64), dim=1",
        64,
        {
            "tensorlift.stack": lambda: [stack(arrays, 1)],
            "torch.stack([from_numpy])": lambda: [torch.stack(shared(arrays), 1)],
        },
    )


def _mixed() -> Case:
    dtypes = (np.float32, np.int32, np.uint8)
    arrays = [np.ones((32, 32), dtypes[i % 3]) for i in range(300)]
    return Case(
        "cat 300 x (32,32) of 3 dtypes",
        300,
        {
            "tensorlift.cat": lambda: [cat(arrays)],
            "torch.cat([from_numpy])": lambda: [torch.cat(shared(arrays))],
        },
    )


def _sequences() -> list[Array]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 50_000, int(n)) for n in rng.integers(10, 513, 256)]


def _padded() -> Case:
    arrays = _sequences()
    return Case(
        "pad 256 x int64(10..512)",
        256,
        {
            "tensorlift.pad": lambda: [pad(arrays).batch],
            "pad_sequence([from_numpy])": lambda: [pad_sequence(shared(arrays), batch_first=True)],
        },
        at_least=(10,),
    )


def _nested() -> Case:
    arrays = _sequences()

    def by_torch() -> list[torch.Tensor]:
        joined: Any = torch.nested.nested_tensor(shared(arrays), layout=torch.jagged)
        return [joined.values(), joined.offsets()]

    def by_numpy() -> list[torch.Tensor]:
        offsets = np.cumsum([0, *map(len, arrays)])
        return [torch.from_numpy(np.concatenate(arrays)), torch.from_numpy(offsets)]

    return Case(
        "jagged 256 x int64(10..512)",
        256,
        {
            "tensorlift.jagged": lambda: list(jagged(arrays)),
            "nested_tensor(layout=jagged)": by_torch,
            "np.concatenate, cumsum": by_numpy,
        },
        at_least=(10, 1),
    )


def _many(n: int) -> Case:
    ways = stacking(list(np.random.default_rng(0).random((n, 16), np.float32)))
    del ways["from_numpy(np.stack(list))"]
    return Case(f"stack {n} x float32(16)", n, ways)


def sized(total: int, nbytes: int) -> Case:
    """`total` bytes of float32 in arrays of `nbytes`."""
    count = max(total // nbytes, 1)
    ways = stacking(floats(count, nbytes // 4))
    name = f"stack {format_bytes(total)} in arrays of {format_bytes(nbytes)}"
    return Case(name, count, ways, plot="bytes", array_bytes=nbytes)


def sized_cases(total: int) -> list[Callable[[], Case]]:
    """One for every size of which `total` has some, for the plot of throughput."""
    return [partial(sized, total, nbytes) for nbytes in _SIZES if nbytes * 4 <= total]


_PEAK = r"""
import re
import numpy as np, torch, tensorlift
arrays = [np.ones(({rows}, 1024), np.float32) for _ in range(64)]
tensorlift.stack([a[:1] for a in arrays])  # what is loaded at the first call
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
before = peak()
result = tensorlift.stack(arrays)
print((peak() - before) / (result.nbytes))
"""


def _peak_memory(quick: bool) -> Extra:
    """How far the process's peak rises in one stack, in sizes of its result. Linux only."""
    code = _PEAK.format(rows=64 if quick else 2048)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ratio = float(run.stdout)
    if ratio > 1.5:
        raise CommandError("stack made a second copy on its way")
    return Extra(
        f"Peak memory of stack(64 x float32): {ratio:.2f} of the result's own size.",
        {"case": "peak memory of stack", "in_results": ratio},
    )


def copy_bandwidth(nbytes: int, seconds: float) -> Extra:
    """How fast bytes are copied in one piece to memory that is there already: what bounds us."""
    source, target = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
    to, of = torch.from_numpy(target), torch.from_numpy(source)
    ways: dict[str, Callable[[], object]] = {
        "1 thread": lambda: np.copyto(target, source),
        f"{torch.get_num_threads()} threads": lambda: to.copy_(of),
    }
    seconds_of = {name: timing.median for name, timing in compare(ways, seconds=seconds).items()}
    threads = min(seconds_of, key=seconds_of.__getitem__)
    speed = nbytes / seconds_of[threads]
    return Extra(
        f"One copy of {format_bytes(nbytes)} in one piece, {threads}: {speed / 1e9:.3g} GB/s.",
        {"case": "copy bandwidth", "bytes": nbytes, "threads": threads, "bytes_per_s": speed},
    )


def _stacked_bytes(settings: Settings) -> int:
    return _STACKED_BYTES >> 5 if settings.quick else _STACKED_BYTES


def _cases(settings: Settings) -> list[Callable[[], Case]]:
    many = (1000, 10_000) if settings.quick else (1000, 10_000, 100_000, 1_000_000)
    return [
        partial(_vectors, 1000),
        _stack_medium,
        _stack_images,
        _stack_images_out,
        _stack_images_floats,
        _channels_last,
        _hwc_to_chw,
        partial(_normalize_images, torch.float32),
        partial(_normalize_images, torch.float16),
        partial(_normalize_images, torch.bfloat16),
        *(
            partial(_normalize_images_out, dtype)
            for dtype in (torch.float32, torch.float16, torch.bfloat16)
        ),
        _pad_images,
        _inner_dim,
        _mixed,
        _padded,
        _nested,
        *(partial(_vectors, n) for n in _COUNTS if n <= 100 or not settings.quick),
        *(partial(_many, n) for n in many),
        *sized_cases(_stacked_bytes(settings)),
    ]


def _extras(settings: Settings) -> list[Extra]:
    extras = [copy_bandwidth(_stacked_bytes(settings), min(settings.seconds, 1))]
    if sys.platform == "linux":
        extras.append(_peak_memory(settings.quick))
    return extras


SUITE = Suite(
    "batch",
    "How much faster does a list of arrays become one tensor than with torch's and NumPy's own "
    "calls?",
    _cases,
    _extras,
)
