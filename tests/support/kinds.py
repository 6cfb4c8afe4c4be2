"""Every kind of call, with arrays for it and with ways to go wrong: what tests/robustness repeats.

Arrays are small and the results depend on them, so that a call can be made a million times and
compared each time.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from torch.utils.data._utils import worker

import tensorlift
from support.inputs import misaligned, odd_strides, read_only

Items = list[Any]


@dataclass(frozen=True)
class Kind:
    """One kind of call.

    Attributes:
        name: of the kind.
        make: gives the item with a number: an array, a sample, whatever the call takes a list of.
        call: makes the call with a list of items.
        bad: an item that the call refuses wherever it stands in the list; None if it never does.
    """

    name: str
    make: Callable[[int], Any]
    call: Callable[[Items], Any]
    bad: Callable[[], Any] | None = lambda: np.array([None])

    def items(self, count: int) -> Items:
        return [self.make(i) for i in range(count)]

    def fail_at(self, items: Items, position: int) -> None:
        """Makes the call with a bad item in the place of a good one."""
        if self.bad is None:
            return
        broken = list(items)
        broken[position] = self.bad()
        try:
            self.call(broken)
        except (TypeError, ValueError, RuntimeError, KeyError):
            return
        raise AssertionError(f"{self.name}: no error with a bad item at {position}")


class Subclass(np.ndarray):
    pass


def row(i: int) -> np.ndarray:
    return np.arange(4.0) + i


def ragged(i: int) -> np.ndarray:
    return np.arange(float(i % 5)) + i


def sample(i: int) -> dict[str, Any]:
    return {"x": row(i), "y": (np.float32(i), i), "name": str(i % 7)}


def tree(items: Items) -> dict[str, Any]:
    return {"a": items, "b": ({"c": items[0]}, "text")}


def with_out(items: Items) -> torch.Tensor:
    out = torch.empty(len(items), 4, dtype=torch.float64)
    return tensorlift.stack(items, out=out)


def over_a_source(items: Items) -> torch.Tensor:
    """The destination is one of the sources."""
    memory = np.empty((len(items), 4))
    memory[0] = items[0]
    return tensorlift.stack([memory[0], *items[1:]], out=tensorlift.from_numpy([memory])[0])


def in_worker(items: Items) -> Any:
    """Collated as in a data loader's worker, sent, received; here all in one process."""
    worker._worker_info = "anything"
    try:
        return pickle.loads(ForkingPickler.dumps(tensorlift.collate(items)))
    finally:
        worker._worker_info = None


def collated_into(items: Items) -> Any:
    """Into tensors that are there already, in one of which a sample lies."""
    count = len(items)
    memory = np.empty((count, 4))
    memory[-1] = items[0]["x"]
    (x,) = tensorlift.from_numpy([memory])
    y = [torch.empty(count), torch.empty(count, dtype=torch.int64)]
    rows = [{**items[0], "x": memory[-1]}, *items[1:]]
    return tensorlift.collate(rows, out={"x": x, "y": y, "name": None})


def collated_into_device(items: Items, device: str) -> Any:
    x = torch.empty(len(items), 4, dtype=torch.float64, device=device)
    return tensorlift.collate(items, out={"x": x, "y": None, "name": None})


def unbound(items: Items) -> tuple[torch.Tensor, ...]:
    return tensorlift.jagged(items).unbind()


def masked_pad(items: Items) -> tensorlift.PaddedWithMask:
    return tensorlift.pad(items, mask=True, max_length=3, truncate="left")


def pixels(i: int) -> np.ndarray:
    return np.full((2, 3, 3), i % 256, np.uint8)


def many_pixels(i: int) -> np.ndarray:
    """A few of them are worth being sent as bytes."""
    return np.full((32, 64, 3), i % 256, np.uint8)


def normalized(items: Items, **options: Any) -> torch.Tensor:
    numbers = {"scale": 1 / 255, "mean": (0.5, 0.4, 0.3), "std": [0.2, 0.3, 0.4]}
    return tensorlift.stack(items, channel_dim=-1, channel_order="bgr", **numbers, **options)


def normalized_samples(items: Items) -> Any:
    how = {"image": tensorlift.Normalize((0.5, 0.4, 0.3), 0.5)}
    return tensorlift.Collate(normalize=how, channel_dim={"image": -1})(items)


def padded(items: Items) -> Any:
    return tensorlift.Collate(pad={"x": tensorlift.Pad(mask="mask")})(items)


def host_kinds() -> list[Kind]:
    """Those whose results are in the host's memory."""
    tl = tensorlift
    other_shape = lambda: np.zeros(3)  # noqa: E731
    return [
        Kind("from_numpy", row, tl.from_numpy),
        Kind("from_numpy of a generator", row, lambda a: tl.from_numpy(x for x in a), lambda: "x"),
        Kind("from_numpy, read-only", lambda i: read_only(row(i)), share_read_only),
        Kind("from_numpy, mirrored", lambda i: row(i)[::-1], tl.from_numpy),
        Kind("from_numpy, big-endian", lambda i: row(i).astype(">f8"), tl.from_numpy),
        Kind("from_numpy, misaligned", lambda i: misaligned(row(i)), tl.from_numpy),
        Kind("from_numpy, packed records", lambda i: odd_strides(row(i)), tl.from_numpy),
        Kind("from_numpy, cast", row, lambda a: tl.from_numpy(a, dtype=torch.float16)),
        Kind("from_numpy, scalars", np.float32, tl.from_numpy),
        Kind("from_numpy, subclass", lambda i: row(i).view(Subclass), tl.from_numpy),
        Kind("from_numpy, masked", lambda i: np.ma.masked_array(row(i)), tl.from_numpy, masked),
        Kind("from_numpy, mixed", mixed, tl.from_numpy, lambda: None),
        Kind("from_numpy, 32 KiB copies", large, lambda a: tl.from_numpy(a, copy=True)),
        Kind("stack", row, tl.stack, other_shape),
        Kind("stack of tensors", lambda i: torch.from_numpy(row(i)), tl.stack, other_shape),
        Kind("stack, out=", row, with_out, other_shape),
        Kind("stack over a source", row, over_a_source, other_float),
        Kind("stack on 3 threads", larger, lambda a: tl.stack(a, threads=3), other_shape),
        Kind("stack, normalised", pixels, normalized, lambda: np.zeros((2, 3, 4))),
        Kind("cat", row, tl.cat, lambda: np.zeros((1, 2))),
        Kind("pad", ragged, tl.pad, lambda: np.zeros((1, 2))),
        Kind("pad, mask, truncated", ragged, masked_pad, lambda: np.zeros((1, 2))),
        Kind("jagged", ragged, unbound, lambda: np.zeros(())),
        Kind("pack", ragged, lambda a: tl.pack(a, 8).unbind(), lambda: np.zeros(9)),
        Kind("collate", sample, tl.collate, lambda: {**sample(0), "x": np.zeros(2)}),
        Kind(
            "collate where a key is missing",
            sample,
            tl.collate,
            lambda: {"another": 1},
        ),
        Kind("collate, padded", lambda i: {"x": ragged(i)}, padded, lambda: {"y": 1}),
        Kind(
            "collate, normalised",
            lambda i: {"image": pixels(i)},
            normalized_samples,
            lambda: {"image": np.zeros((2, 2, 3))},
        ),
        Kind("collate, out=", sample, collated_into, lambda: {**sample(0), "x": np.zeros(2)}),
        Kind("collate in a worker", sample, in_worker, lambda: {**sample(0), "x": np.zeros(2)}),
        Kind("convert", row, lambda a: tl.convert(tree(a)), dates),
        Kind("explain", mixed, lambda a: len(tl.explain(a)), None),
        Kind("explain of a batch", row, lambda a: tl.explain(a, operation="stack").shape, None),
    ]


def share_read_only(items: Items) -> list[torch.Tensor]:
    return tensorlift.from_numpy(items, readonly="share")


def masked() -> np.ndarray:
    return np.ma.masked_array([1.0] * 4, [True] * 4)


def dates() -> np.ndarray:
    return np.zeros(4, "M8[D]")


def other_float() -> np.ndarray:
    return np.zeros((2, 2))


def mixed(i: int) -> np.ndarray:
    """Of every layout in turn."""
    layouts: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda a: a,
        lambda a: a[::-1],
        lambda a: a.astype(">i4"),
        lambda a: a.view(Subclass),
        lambda a: a.reshape(2, 2).T,
        odd_strides,
        misaligned,
    ]
    return layouts[i % len(layouts)](row(i))


def large(i: int) -> np.ndarray:
    """Its copies come from the cache of blocks."""
    return np.full(4096, float(i))


def larger(i: int) -> np.ndarray:
    """A few of them are work for several threads."""
    return np.full(1 << 14, float(i))


def device_kinds(device: str) -> list[Kind]:
    """Those whose results are on a device, or in memory that is pinned for it."""
    tl = tensorlift
    other_shape = lambda: np.zeros(3)  # noqa: E731

    def prefetched(samples: Items) -> list[Any]:
        return list(tl.DevicePrefetcher([tl.collate(samples)], device))

    return [
        Kind("from_numpy to a device", row, lambda a: tl.from_numpy(a, device=device)),
        Kind("from_numpy of mixed to a device", mixed, lambda a: tl.from_numpy(a, device=device)),
        Kind(
            "from_numpy, cast on the device",
            lambda i: row(i).astype(np.float32),
            lambda a: tl.from_numpy(a, device=device, dtype=torch.float64),
        ),
        Kind("from_numpy, pinned", row, lambda a: tl.from_numpy(a, pin_memory=True)),
        Kind("stack to a device", row, lambda a: tl.stack(a, device=device), other_shape),
        Kind(
            "stack, normalised on a device",
            many_pixels,
            lambda a: normalized(a, device=device),
            lambda: np.zeros((2, 3, 4)),
        ),
        Kind("stack, pinned", row, lambda a: tl.stack(a, pin_memory=True), other_shape),
        Kind(
            "cat to a device",
            row,
            lambda a: tl.cat(a, device=device, non_blocking=False),
            lambda: np.zeros((1, 2)),
        ),
        Kind("pad to a device", ragged, lambda a: tl.pad(a, device=device), other_float),
        Kind(
            "jagged to a device",
            ragged,
            lambda a: tl.jagged(a, device=device),
            lambda: np.zeros(()),
        ),
        Kind("convert to a device", row, lambda a: tl.convert(tree(a), device=device), dates),
        Kind(
            "collate to a device",
            sample,
            tl.Collate(device=device),
            lambda: {**sample(0), "x": np.zeros(2)},
        ),
        Kind(
            "collate, out= on a device",
            sample,
            lambda a: collated_into_device(a, device),
            lambda: {**sample(0), "x": np.zeros(2)},
        ),
        Kind("DevicePrefetcher", sample, prefetched, lambda: {**sample(0), "x": np.zeros(2)}),
    ]


def same(a: Any, b: Any) -> bool:
    """Whether two results are equal, tensors wherever they are, NaN as itself."""
    if isinstance(a, torch.Tensor):
        # By NumPy: torch.equal() would wait for torch's threads, which a forked child has not.
        return a.dtype == b.dtype and np.array_equal(a.cpu().numpy(), b.cpu().numpy())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
