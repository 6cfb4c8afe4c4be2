"""What all suites share: a case, the check before its timing, the timing turn by turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from .._cli.errors import CommandError
from .._cli.timing import compare

Array = npt.NDArray[Any]
Way = Callable[[], Any]
Ways = dict[str, Way]
Result = dict[str, Any]  # what the JSON file holds of one comparison; see report.document


@dataclass(frozen=True)
class Case:
    """One question: ours against its peers on the same input.

    Attributes:
        name: what the input is.
        arrays: how many arrays one call converts; times are printed per array.
        ways: callables without arguments by name, ours first; all must give the same tensors.
        optional: more peers, which need not be installed or work on this machine.
        with_release: whether freeing the result counts.
        at_least: for each peer of `ways` the ratio that the project promises, None for no promise.
        plot: what a plot shows this case against: the number of arrays, or the bytes of one.
        array_bytes: of one array; 0 where that is not to be plotted.
        flatten: what a way gives, as a sequence of tensors and other values that can be compared.
        cell: where it stands in a grid: the operation, the kind of sample, the batch size.
    """

    name: str
    arrays: int
    ways: Ways
    optional: Ways = field(default_factory=dict)
    with_release: bool = True
    at_least: Sequence[float | None] = ()
    plot: Literal["", "arrays", "bytes"] = ""
    array_bytes: int = 0
    flatten: Callable[[Any], Sequence[Any]] = list
    cell: tuple[str, str, int] | None = None


@dataclass(frozen=True)
class Settings:
    """How to run.

    Attributes:
        seconds: of timing, for each case.
        quick: whether small inputs do, to see that everything runs.
        only: a part of the names of those cases that are wanted.
        device: of the transfers; None where there is none.
        sweep: whether to try the settings of `tensorlift.staging`.
    """

    seconds: float = 2.0
    quick: bool = False
    only: str = ""
    device: torch.device | None = None
    sweep: bool = False


@dataclass(frozen=True)
class Extra:
    """A measurement that is no comparison: what to print of it, and what to keep."""

    text: str
    result: Result


@dataclass(frozen=True)
class Suite:
    """Cases that answer one question. They are made one at a time: some are large."""

    name: str
    question: str
    cases: Callable[[Settings], Sequence[Callable[[], Case]]]
    extras: Callable[[Settings], Sequence[Extra]] = lambda settings: ()


class DifferentResultsError(CommandError):
    """Two ways disagree, so that comparing their speed means nothing."""


@contextmanager
def _same_threads() -> Iterator[None]:
    """Cases may change torch's number of threads; the next one shall not notice."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _equal(a: Any, b: Any) -> bool:
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return type(a) is type(b) and bool(a == b)
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


def check(case: Case) -> tuple[Case, list[str]]:
    """Runs every way once.

    Args:
        case: the case.

    Returns:
        The case with those optional peers that run here among its ways, and a line on each other.

    Raises:
        DifferentResultsError: a way gives other tensors than ours.
    """
    peers, left_out = {}, []
    (_, ours), *_ = case.ways.items()
    with _same_threads():
        expected = case.flatten(ours())
        for name, way in (case.ways | case.optional).items():
            try:
                result = case.flatten(way())
            except Exception as error:
                if name not in case.optional:
                    raise
                reason = str(error).partition("\n")[0]
                left_out.append(f"{name}: {type(error).__name__}: {reason}")
                continue
            same = len(result) == len(expected) and all(map(_equal, result, expected))
            if not same:
                raise DifferentResultsError(
                    f"{case.name}: {name} gives another result than ours; not timed"
                )
            peers[name] = way
    return dataclasses.replace(case, ways=peers, optional={}), left_out


def measure(case: Case, seconds: float) -> Iterator[Result]:
    """Times ours and one peer at a time, turn by turn: no third one disturbs heap and caches.

    Args:
        case: one that was checked.
        seconds: for all its peers together.

    Yields:
        What is known of each peer.
    """
    (ours_name, ours), *peers = case.ways.items()
    for number, (name, peer) in enumerate(peers):
        with _same_threads():
            timings = compare(
                {ours_name: ours, name: peer},
                seconds=seconds / len(peers),
                with_release=case.with_release,
            )
        result: Result = {
            "case": case.name,
            "peer": name,
            "arrays": case.arrays,
            "ours_s": dataclasses.asdict(timings[ours_name]),
            "peer_s": dataclasses.asdict(timings[name]),
            "ratio": timings[name].median / timings[ours_name].median,
            "at_least": case.at_least[number] if number < len(case.at_least) else None,
            "ours": ours_name,
        }
        if case.cell:
            result |= dict(zip(("operation", "kind", "size"), case.cell, strict=True))
        if case.plot:
            result |= {"plot": case.plot, "array_bytes": case.array_bytes}
        yield result


def shared(arrays: Sequence[Array]) -> list[torch.Tensor]:
    """What most peers begin with."""
    return [torch.from_numpy(a) for a in arrays]


def floats(count: int, *shape: int) -> list[Array]:
    """Arrays of random float32 numbers, each with memory of its own."""
    rng = np.random.default_rng(0)
    return [rng.random(shape, np.float32) for _ in range(count)]


def photos(count: int) -> list[Array]:
    """Images of 224 x 224 pixels and 3 channels, in bytes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (224, 224, 3), np.uint8) for _ in range(count)]
