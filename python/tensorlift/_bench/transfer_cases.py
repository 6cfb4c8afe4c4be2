"""The cases of the suite `transfer`: arrays reach an accelerator.

A time ends when the device has everything: every call is followed by a wait for the device. "one
copy_ of pinned memory" is no peer but the limit: the same bytes, page-locked already, in one piece;
how near ours comes to it is promised from 12 cores on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import default_collate
from torch.utils.dlpack import from_dlpack

from .. import Collate, empty_pinned, from_numpy, pad, stack
from .._cli.machine import cores
from . import loader
from .harness import Array, Case, Way, Ways, floats, photos, shared

_LIMIT = "one copy_ of pinned memory"
_LARGE = 4 << 20  # float32 elements of a large array: 16 MiB


def complete(ways: Ways) -> Ways:
    """Each way with a wait for the device at its end."""

    def call(way: Way) -> Any:
        result = way()
        torch.accelerator.synchronize()
        return result

    return {name: partial(call, way) for name, way in ways.items()}


def _case(
    name: str,
    arrays: int,
    ways: Ways,
    at_least: Sequence[float | None] = (),
    optional: Ways | None = None,
) -> Case:
    return Case(
        name,
        arrays,
        complete(ways),
        optional=complete(optional or {}),
        with_release=False,
        at_least=at_least,
    )


# -- arrays; kept, so that the largest are made once


@functools.cache
def small() -> list[Array]:
    """1000 arrays of 4 KiB."""
    return floats(1000, 1024)


@functools.cache
def large(count: int) -> list[Array]:
    """Arrays of 16 MiB."""
    return floats(count, _LARGE)


@functools.cache
def _images() -> list[Array]:
    return photos(64)


# -- lists of tensors


def one_by_one(arrays: list[Array], device: torch.device) -> Ways:
    """Ours and torch's ways to send a list of arrays."""
    return {
        "tensorlift.from_numpy": lambda: from_numpy(arrays, device=device),
        "[from_numpy(a).to(device)]": lambda: [torch.from_numpy(a).to(device) for a in arrays],
        "the same, non_blocking": lambda: [
            torch.from_numpy(a).to(device, non_blocking=True) for a in arrays
        ],
    }


def _tensor_dict(arrays: list[Array]) -> Any:
    from tensordict import TensorDict

    return TensorDict({str(i): torch.from_numpy(a) for i, a in enumerate(arrays)}, batch_size=[])


def _small_list(device: torch.device) -> Case:
    arrays = small()

    def consolidated() -> list[torch.Tensor]:
        pinned = _tensor_dict(arrays).consolidate(pin_memory=True)
        return list(pinned.to(device, non_blocking=True).values())

    ways = one_by_one(arrays, device) | {
        "stack.pin_memory().to().unbind()": lambda: (
            torch.stack(shared(arrays)).pin_memory().to(device, non_blocking=True).unbind()
        ),
        "np.stack, .to().unbind()": lambda: torch.from_numpy(np.stack(arrays)).to(device).unbind(),
    }

    def by_foreach() -> list[torch.Tensor]:
        targets = [torch.empty(a.shape, dtype=torch.float32, device=device) for a in arrays]
        torch._foreach_copy_(targets, shared(arrays), non_blocking=True)
        return targets

    others: Ways = {
        "TensorDict.consolidate(pin).to": consolidated,
        "torch._foreach_copy_": by_foreach,
    }
    return _case("1000 x float32(1024)", 1000, ways, at_least=(15,), optional=others)


def _small_batch(device: torch.device) -> Case:
    arrays = small()

    def by_cupy() -> list[torch.Tensor]:
        import cupy

        return [from_dlpack(cupy.asarray(arrays))]

    cupy: Ways = {"cupy.asarray(list)": by_cupy} if device.type == "cuda" else {}
    return _case("stack 1000 x float32(1024)", 1000, stacking(arrays, device), optional=cupy)


def _raw_copy(arrays: list[Array], device: torch.device) -> Way:
    """What the bus can do: the arrays' bytes, page-locked in one piece before, in one copy."""
    pinned = torch.from_numpy(np.stack(arrays)).pin_memory()
    target = torch.empty(pinned.shape, dtype=pinned.dtype, device=device)
    return lambda: target.copy_(pinned, non_blocking=True).unbind()


def _large_list(count: int, device: torch.device) -> Case:
    arrays = large(count)

    def pinned_by_threads() -> list[torch.Tensor]:
        options = {"non_blocking_pin": True, "num_threads": cores()}
        return list(_tensor_dict(arrays).to(device, **options).values())

    ways = one_by_one(arrays, device) | {_LIMIT: _raw_copy(arrays, device)}
    tensordict: Ways = {"TensorDict.to(non_blocking_pin)": pinned_by_threads}
    promises = (None, None, 0.9 if cores() >= 12 else None)
    return _case(f"{count} x float32 of 16 MiB", count, ways, promises, optional=tensordict)


def _pinned_list(count: int, device: torch.device) -> Case:
    arrays = [empty_pinned(_LARGE, np.float32) for _ in range(count)]
    for pinned, values in zip(arrays, large(count), strict=True):
        pinned[...] = values
    tensors = from_numpy(arrays)
    ways: Ways = {
        "from_numpy(non_blocking=False)": lambda: from_numpy(
            arrays, device=device, non_blocking=False
        ),
        "[pinned.to(non_blocking)]": lambda: [t.to(device, non_blocking=True) for t in tensors],
        _LIMIT: _raw_copy(arrays, device),
    }
    return _case(f"{count} x 16 MiB of empty_pinned", count, ways)


def _mixed_list(device: torch.device) -> Case:
    dtypes = (np.uint8, np.float32, np.int64, np.float64)
    rng = np.random.default_rng(0)
    arrays: list[Array] = []
    for i, nbytes in enumerate(rng.integers(100, 50_001, 300)):
        dtype = np.dtype(dtypes[i % 4])
        columns = i % 3 + 1
        shape = (int(nbytes) // dtype.itemsize // columns, columns)
        arrays.append(rng.integers(0, 256, shape).astype(dtype))
    return _case("300 of 4 dtypes, 0.1 to 50 KB", 300, one_by_one(arrays, device))


def _few(n: int, size: int, device: torch.device) -> Case:
    arrays = floats(n, size)
    return _case(f"{n} x float32({size})", n, one_by_one(arrays, device), at_least=(1, 1))


# -- batches


def stacking(arrays: list[Array], device: torch.device) -> Ways:
    """Ours and torch's ways to send a batch of arrays."""
    return {
        "tensorlift.stack": lambda: [stack(arrays, device=device)],
        "torch.stack().to(device)": lambda: [torch.stack(shared(arrays)).to(device)],
        "torch.stack().pin_memory().to()": lambda: [
            torch.stack(shared(arrays)).pin_memory().to(device, non_blocking=True)
        ],
        "from_numpy(np.stack).to(device)": lambda: [torch.from_numpy(np.stack(arrays)).to(device)],
    }


def _small_batch_into(device: torch.device) -> Case:
    arrays = small()
    ours, pageable, pinned = (torch.empty(1000, 1024, device=device) for _ in range(3))
    ways: Ways = {
        "stack(out=)": lambda: [stack(arrays, out=ours)],
        "out.copy_(torch.stack())": lambda: [pageable.copy_(torch.stack(shared(arrays)))],
        "out.copy_(torch.stack().pin_memory())": lambda: [
            pinned.copy_(torch.stack(shared(arrays)).pin_memory(), non_blocking=True)
        ],
    }
    return _case("the same into out=", 1000, ways, at_least=(1, 1))


def _large_array(device: torch.device) -> Case:
    """Larger than all staging buffers together: sent in parts."""
    arrays = floats(1, 4 * _LARGE)
    ways = one_by_one(arrays, device) | {_LIMIT: _raw_copy(arrays, device)}
    return _case("1 x float32 of 64 MiB", 1, ways, at_least=(1, 1))


def _large_rows(device: torch.device) -> Case:
    """Batches whose parts are not in the order of the arrays, or of rows larger than a buffer."""
    arrays = floats(4, _LARGE)
    ways: Ways = {
        "stack(dim=1)": lambda: [stack(arrays, 1, device=device)],
        "torch.stack(dim=1).to(device)": lambda: [torch.stack(shared(arrays), 1).to(device)],
        "torch.stack(dim=1).pin_memory().to()": lambda: [
            torch.stack(shared(arrays), 1).pin_memory().to(device, non_blocking=True)
        ],
    }
    return _case("stack 4 x float32 of 16 MiB, dim=1", 4, ways, at_least=(1, 1))


def _few_stacked(device: torch.device) -> Case:
    arrays = floats(64, 64)
    return _case("stack 64 x float32(64)", 64, stacking(arrays, device), at_least=(1, 1, 1))


def _few_padded(device: torch.device) -> Case:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 50_000, int(n)) for n in rng.integers(10, 513, 32)]

    def joined() -> torch.Tensor:
        return pad_sequence(shared(arrays), batch_first=True)

    ways: Ways = {
        "tensorlift.pad": lambda: [pad(arrays, device=device).batch],
        "pad_sequence().to(device)": lambda: [joined().to(device)],
        "pad_sequence().pin_memory().to()": lambda: [
            joined().pin_memory().to(device, non_blocking=True)
        ],
    }
    return _case("pad 32 x int64(10..512)", 32, ways, at_least=(1, 1))


def _image_batch(device: torch.device) -> Case:
    arrays, float32 = _images(), torch.float32
    ways: Ways = {
        "stack(dtype=)": lambda: [stack(arrays, device=device, dtype=float32)],
        "torch.stack().pin_memory().to().float()": lambda: [
            torch.stack(shared(arrays)).pin_memory().to(device, non_blocking=True).float()
        ],
        "from_numpy(np.stack).to().float()": lambda: [
            torch.from_numpy(np.stack(arrays)).to(device).float()
        ],
    }
    return _case("64 x uint8(224,224,3) to float32", 64, ways, at_least=(3,))


def _image_batch_chw(device: torch.device) -> Case:
    arrays, float32 = _images(), torch.float32

    def by_torch() -> list[torch.Tensor]:
        batch = torch.stack(shared(arrays)).pin_memory().to(device, non_blocking=True)
        return [batch.permute(0, 3, 1, 2).to(float32, memory_format=torch.contiguous_format)]

    ways: Ways = {
        "stack(dtype=, channel_dim=-1)": lambda: [
            stack(arrays, device=device, dtype=float32, channel_dim=-1)
        ],
        "the same, .permute().to(float32)": by_torch,
    }
    return _case("the same to CHW", 64, ways)


def _samples(name: str, make: Callable[[int], list[Any]], device: torch.device) -> Case:
    samples, ours = make(256), Collate(device=device)

    def by_torch(pins: bool) -> list[torch.Tensor]:
        tensors = loader.tensors_of(default_collate(samples))
        if pins:
            tensors = [tensor.pin_memory() for tensor in tensors]
        return [tensor.to(device, non_blocking=pins) for tensor in tensors]

    ways: Ways = {
        "Collate(device=)": lambda: loader.tensors_of(ours(samples)),
        "default_collate, .to(device) each": lambda: by_torch(False),
        "default_collate, .pin_memory().to() each": lambda: by_torch(True),
    }
    return _case(f"collate {len(samples)} {name}", len(samples), ways)


def all_cases(device: torch.device, count: int) -> list[Callable[[], Case]]:
    """The cases, to be made one at a time; `count` large arrays."""
    return [
        partial(_small_list, device),
        partial(_small_batch, device),
        partial(_small_batch_into, device),
        partial(_large_list, count, device),
        partial(_pinned_list, count, device),
        partial(_large_array, device),
        partial(_large_rows, device),
        partial(_image_batch, device),
        partial(_image_batch_chw, device),
        partial(_mixed_list, device),
        partial(_few, 1, 64, device),
        partial(_few, 8, 256, device),
        partial(_few_stacked, device),
        partial(_few_padded, device),
        partial(_samples, "dicts of 20 fields", loader.small_fields, device),
        partial(_samples, "dicts of images and labels", loader.images_with_labels, device),
    ]
