"""Compares the speed of several ways to do the same, on a machine that is never quiet."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_SHORTEST_TURN = 20e-6  # seconds


@dataclass(frozen=True)
class Timing:
    """Seconds per call over all rounds.

    Attributes:
        median: the middle round.
        low: the first quartile.
        high: the third quartile.
    """

    median: float
    low: float
    high: float


def _summarise(seconds: list[float]) -> Timing:
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Timing(median, low, high)


def compare(
    ways: Mapping[str, Callable[[], Any]], *, seconds: float = 1.0, with_release: bool = True
) -> dict[str, Timing]:
    """Times several callables turn by turn in this process, so that noise hits all alike.

    Args:
        ways: the callables, by name.
        seconds: how long to measure, all of them together.
        with_release: whether freeing the result counts.

    Returns:
        The timing of each, by name, in the given order.
    """
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # first calls load code and fill caches
    begin = time.perf_counter()
    for way in ways.values():
        way()
    each = (time.perf_counter() - begin) / len(ways)
    # Of what is over in a few microseconds many calls in a row: reading the clock takes 0.05.
    calls = int(_SHORTEST_TURN / each) + 1 if with_release and each < _SHORTEST_TURN else 1
    repeat = range(calls)
    deadline = time.perf_counter() + seconds
    rounds = 0
    while rounds < 5 or time.perf_counter() < deadline:
        for name, way in ways.items():
            begin = time.perf_counter()
            for _ in repeat:
                result = way()
            created = time.perf_counter()
            del result
            released = time.perf_counter()
            samples[name].append(((released if with_release else created) - begin) / calls)
        rounds += 1
    return {name: _summarise(values) for name, values in samples.items()}
