"""Would tensorlift.collate be faster? Both make batches of this loader, turn by turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat
from statistics import median
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate

from ..._torch_internals import torch_collate
from ..collate import collate, collate_for_torch
from ..collate_options import Collate
from ..tree import leaves_of
from .log import Log, Made, Way, now
from .random_state import restored
from .run import NoBatchError, run
from .watch import WatchedCollate

_ENOUGH = 15  # batches of each
_LONGEST = 10.0  # seconds


class Cost(NamedTuple):
    """Seconds a batch: of its worker, collating and sending; of who receives it."""

    making: float
    receiving: float


class Trial(NamedTuple):
    """What batches cost that the loader's own collate_fn has made, and those of ours."""

    theirs: Cost
    ours: Cost

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return sum(self.theirs) / sum(self.ours)


NoTrial = Literal["ours already", "another batch", "not measured"]


def is_ours(collate_fn: Any) -> bool:
    """Whether batches are made by tensorlift already."""
    while isinstance(collate_fn, partial):
        collate_fn = collate_fn.func
    if collate_fn is default_collate:
        return torch_collate.collate is collate_for_torch
    return collate_fn is collate or isinstance(collate_fn, Collate)


def try_ours(loader: DataLoader[Any]) -> Trial | NoTrial:
    """Runs the loader once more, for some seconds."""
    if is_ours(loader.collate_fn):
        return "ours already"
    deadline = now() + _LONGEST

    def is_enough(log: Log) -> bool:
        fewest = min(len(_of(log, "theirs")), len(_of(log, "ours")))
        is_late = now() > deadline and fewest > 0
        return fewest >= _ENOUGH or is_late or bool(_of(log, "different"))

    with restored(loader):
        try:
            ran = run(loader, None, 1 << 62, None, _InTurn, is_enough)
        except NoBatchError:  # what can be iterated once alone
            return "not measured"
    if _of(ran.log, "different"):
        return "another batch"
    theirs, ours = _of(ran.log, "theirs"), _of(ran.log, "ours")
    if not theirs or not ours:
        return "not measured"
    return Trial(_cost(theirs), _cost(ours))


def _of(log: Log, way: Way) -> list[Made]:
    return [made for made in log.made if made.way == way]


def _cost(many: list[Made]) -> Cost:
    def lasted(interval: tuple[float, float] | None) -> float:
        return 0.0 if interval is None else interval[1] - interval[0]

    return Cost(
        median(made.collated - made.read + lasted(made.sent) for made in many),
        median(lasted(made.received) for made in many),
    )


class _InTurn(WatchedCollate):
    """The loader's collate_fn and ours by turns, if they give the same batch.

    A turn is one batch, then two, then four: a worker makes a batch while its last one is sent, and
    those two had better be of the same function.
    """

    def __init__(self, collate_fn: Callable[[Any], Any], log: Log) -> None:
        super().__init__(collate_fn, log)
        self._ways = _ways()  # of this process

    def __getstate__(self) -> dict[str, Any]:
        """For a worker that is spawned."""
        return {**super().__getstate__(), "_ways": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _ways=_ways())

    def collate(self, samples: Any) -> tuple[Any, Way]:
        """The batch; the first time by both."""
        way = next(self._ways)
        if way == "ours":
            return collate(samples), way
        ours = _ours(samples) if way == "compare" else None
        batch = self.collate_fn(samples)
        if way == "compare" and (ours is None or not _are_equal(batch, ours)):
            self._ways = repeat("different")
            return batch, "different"
        return batch, way


def _ways() -> Iterator[Way]:
    yield "compare"
    for turn in chain((1, 2), repeat(4)):
        yield from repeat("theirs", turn)
        yield from repeat("ours", turn)


def _ours(samples: Any) -> Any:
    try:
        return collate(samples)
    except Exception:  # of which there are as many as there are samples that it is not for
        return None


def _are_equal(batch: Any, other: Any) -> bool:
    """Whether two batches are the same tree of the same values."""
    leaves, others = list(leaves_of(batch)), list(leaves_of(other))
    return len(leaves) == len(others) and all(
        path == other_path and _are_equal_leaves(leaf, other_leaf)
        for (path, leaf), (other_path, other_leaf) in zip(leaves, others, strict=True)
    )


def _are_equal_leaves(leaf: Any, other: Any) -> bool:
    if type(leaf) is not type(other):
        return False
    if not isinstance(leaf, (torch.Tensor, np.ndarray)):
        return bool(leaf == other)
    if leaf.dtype != other.dtype or leaf.shape != other.shape:
        return False
    return bool(((leaf == other) | ((leaf != leaf) & (other != other))).all())
