"""The suites on arrays like the user's own: as many, of that shape and dtype."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from .. import cat, from_numpy, stack
from .._cli import machine
from .._cli.errors import CommandError
from .._text import format_bytes
from . import batch, convert, loader, transfer_cases
from .harness import Array, Case, Extra, Settings, Suite, Ways, shared

# What is alive at once, in sizes of the workload: the arrays, two results that are compared, what a
# peer makes on its way, a cast to a wider dtype.
_COPIES = 8
_MOST_STACKED = 32 << 20  # bytes of the plot of throughput


@dataclass(frozen=True)
class Workload:
    """So many arrays of one shape and dtype."""

    arrays: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def array_bytes(self) -> int:
        """Of one array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def name(self, count: int | None = None) -> str:
        """`1000 x float32(3,32,32)`."""
        shape = ",".join(map(str, self.shape))
        order = "" if self.dtype.isnative else ", bytes swapped"
        return f"{count or self.arrays} x {self.dtype.newbyteorder('=')}({shape}){order}"

    def make(self, count: int | None = None) -> list[Array]:
        """The arrays, each with memory of its own."""
        rng = np.random.default_rng(0)
        return [
            np.asarray(rng.integers(0, 100, self.shape, np.uint8), self.dtype)
            for _ in range(count or self.arrays)
        ]

    def check(self) -> None:
        """Raises a CommandError where they would not fit in memory."""
        needed = self.arrays * (self.array_bytes + 100) * _COPIES
        available = machine.available_memory()
        if available is not None and needed > available:
            raise CommandError(
                f"{self.name()} would need some {format_bytes(needed)} of memory, of which "
                f"{format_bytes(available)} are free; try fewer arrays"
            )

    def counts(self) -> list[int]:
        """The powers of ten below the number of arrays, and that."""
        powers = (10**exponent for exponent in range(12))
        return [*(n for n in powers if n < self.arrays), self.arrays]

    def cast_to(self) -> torch.dtype:
        """What such arrays are mostly cast to."""
        if self.dtype.kind == "c":
            return torch.complex64 if self.dtype.itemsize > 8 else torch.complex128
        is_float32 = self.dtype.newbyteorder("=") == np.float32
        return torch.bfloat16 if is_float32 else torch.float32


def _ours_first(ways: Ways, more: Ways | None = None) -> tuple[Ways, Ways]:
    """Ours, and the peers as what need not work: torch refuses some dtypes and byte orders."""
    (name, ours), *peers = ways.items()
    return {name: ours}, dict(peers) | (more or {})


def _native(arrays: Sequence[Array]) -> list[Array]:
    """The same in the byte order that torch takes; a native array as it is."""
    return [a if a.dtype.isnative else a.astype(a.dtype.newbyteorder("=")) for a in arrays]


def _point(workload: Workload, count: int, name: str, ways: Ways, swapped: Ways) -> Case:
    """One for the plot over the number of arrays; `swapped`: peers for foreign byte orders."""
    ours, peers = _ours_first(ways, None if workload.dtype.isnative else swapped)
    return Case(name, count, ours, peers, plot="arrays", array_bytes=workload.array_bytes)


def _to_list(workload: Workload, count: int) -> Case:
    arrays = workload.make(count)
    ways = convert.to_list(arrays)
    if count < workload.arrays:  # for the plot alone
        ways = dict(list(ways.items())[:2])
    swapped: Ways = {"[from_numpy(a.astype(native))]": lambda: shared(_native(arrays))}
    return _point(workload, count, workload.name(count), ways, swapped)


def _mirrored(workload: Workload) -> Case:
    arrays = [a[..., ::-1] for a in workload.make()]
    ours, peers = _ours_first(convert.to_copies(arrays))
    return Case(f"{workload.name()}, mirrored", workload.arrays, ours, peers)


def _stacked(workload: Workload, count: int) -> Case:
    arrays = workload.make(count)
    swapped: Ways = {
        "torch.stack([from_numpy(a.astype(native))])": lambda: [
            torch.stack(shared(_native(arrays)))
        ]
    }
    name = f"stack {workload.name(count)}"
    return _point(workload, count, name, batch.stacking(arrays), swapped)


def _stacked_into(workload: Workload) -> Case:
    arrays = workload.make()
    out = stack(arrays)
    torch_out, numpy_out = torch.empty_like(out), np.stack(_native(arrays))

    def by_numpy() -> list[torch.Tensor]:
        np.stack(arrays, out=numpy_out)
        return [torch.from_numpy(numpy_out)]

    return Case(
        f"stack {workload.name()} into out=",
        workload.arrays,
        {"tensorlift.stack(out=)": lambda: [stack(arrays, out=out)]},
        {
            "torch.stack(out=)": lambda: [torch.stack(shared(arrays), out=torch_out)],
            "np.stack(out=)": by_numpy,
        },
    )


def _joined(workload: Workload) -> Case:
    arrays = workload.make()
    return Case(
        f"cat {workload.name()}",
        workload.arrays,
        {"tensorlift.cat": lambda: [cat(arrays)]},
        {
            "torch.cat([from_numpy])": lambda: [torch.cat(shared(arrays))],
            "from_numpy(np.concatenate(list))": lambda: [torch.from_numpy(np.concatenate(arrays))],
        },
    )


def _cast(workload: Workload) -> Case:
    arrays, dtype = workload.make(), workload.cast_to()
    return Case(
        f"{workload.name()} to {dtype}".replace("torch.", ""),
        workload.arrays,
        {"from_numpy(dtype=)": lambda: from_numpy(arrays, dtype=dtype)},
        {"[from_numpy(a).to(dtype)]": lambda: [t.to(dtype) for t in shared(_native(arrays))]},
    )


def _cast_and_stacked(workload: Workload) -> Case:
    arrays, dtype = workload.make(), workload.cast_to()
    return Case(
        f"stack {workload.name()} to {dtype}".replace("torch.", ""),
        workload.arrays,
        {"tensorlift.stack(dtype=)": lambda: [stack(arrays, dtype=dtype)]},
        {
            "torch.stack().to(dtype)": lambda: [torch.stack(shared(arrays)).to(dtype)],
            "from_numpy(np.stack(list)).to(dtype)": lambda: [
                torch.from_numpy(np.stack(arrays)).to(dtype)
            ],
        },
    )


def _collated(workload: Workload) -> Case:
    ours, peers = _ours_first(loader.collating(list(workload.make())))
    return Case(f"collate {workload.name()}", workload.arrays, ours, peers)


def _collated_dicts(workload: Workload) -> Case:
    samples = [{"x": array, "label": i} for i, array in enumerate(workload.make())]
    ours, peers = _ours_first(loader.collating(list(samples)))
    return Case(f"collate dicts of a label and {workload.name()}", workload.arrays, ours, peers)


def _loaded(workload: Workload) -> Case:
    dataset = loader.Samples(list(workload.make()))
    case = loader.loading(workload.name(), dataset, workers=0)
    ours, peers = _ours_first(case.ways)
    return dataclasses.replace(case, ways=ours, optional=peers)


def _sent(workload: Workload, device: torch.device) -> Case:
    ways = transfer_cases.one_by_one(workload.make(), device)
    ours, peers = map(transfer_cases.complete, _ours_first(ways))
    return Case(f"{workload.name()} to {device.type}", workload.arrays, ours, peers, False)


def _stacked_and_sent(workload: Workload, device: torch.device) -> Case:
    ways = transfer_cases.stacking(workload.make(), device)
    ours, peers = map(transfer_cases.complete, _ours_first(ways))
    return Case(f"stack {workload.name()} to {device.type}", workload.arrays, ours, peers, False)


def _convert_cases(workload: Workload, settings: Settings) -> list[Callable[[], Case]]:
    cases = [partial(_to_list, workload, count) for count in reversed(workload.counts())]
    return [*cases, partial(_mirrored, workload)] if workload.shape else [*cases]


def _stacked_bytes(workload: Workload) -> int:
    return min(workload.arrays * workload.array_bytes, _MOST_STACKED)


def _batch_cases(workload: Workload, settings: Settings) -> list[Callable[[], Case]]:
    return [
        *(partial(_stacked, workload, count) for count in reversed(workload.counts())),
        partial(_stacked_into, workload),
        *([partial(_joined, workload)] if workload.shape else []),
        *batch.sized_cases(_stacked_bytes(workload)),
    ]


def _batch_extras(workload: Workload, settings: Settings) -> list[Extra]:
    nbytes = _stacked_bytes(workload)
    return [batch.copy_bandwidth(nbytes, min(settings.seconds, 1))] if nbytes else []


def _cast_cases(workload: Workload, settings: Settings) -> list[Callable[[], Case]]:
    return [partial(_cast, workload), partial(_cast_and_stacked, workload)]


def _loader_cases(workload: Workload, settings: Settings) -> list[Callable[[], Case]]:
    return [partial(make, workload) for make in (_collated, _collated_dicts, _loaded)]


def _transfer_cases(workload: Workload, settings: Settings) -> list[Callable[[], Case]]:
    if settings.device is None:
        return []
    return [partial(make, workload, settings.device) for make in (_sent, _stacked_and_sent)]


def suites(workload: Workload) -> dict[str, Suite]:
    """The suites by name, on these arrays."""

    def suite(
        name: str,
        what: str,
        cases: Callable[[Workload, Settings], list[Callable[[], Case]]],
        extras: Callable[[Workload, Settings], list[Extra]] = lambda workload, settings: [],
    ) -> Suite:
        question = f"How much faster {what}: {workload.name()}?"
        return Suite(name, question, partial(cases, workload), partial(extras, workload))

    return {
        made.name: made
        for made in (
            suite("convert", "does a list become tensors", _convert_cases),
            suite("cast", "does it become tensors of another dtype", _cast_cases),
            suite("batch", "does it become one tensor", _batch_cases, _batch_extras),
            suite("loader", "do samples become batches", _loader_cases),
            suite("transfer", "does it reach an accelerator", _transfer_cases),
        )
    }
