"""The function that profiles a loader."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

from torch.utils.data import DataLoader

from ..._cli import machine
from ..._cli.terminal import progress
from ..prefetch import DevicePrefetcher
from .log import Content, Interval, Lane, Log, now
from .random_state import restored
from .report import LoaderReport
from .run import Ran, run
from .shares import Shares, shares_by_lane, shares_by_place
from .stages import Where
from .trial import NoTrial, Trial, try_ours
from .verdict import Facts, advise, judge

_SHOWN_EVERY = 0.2  # seconds
_DRAWN = 12  # steps


def profile_loader(
    loader: DataLoader[Any] | DevicePrefetcher[Any],
    batches: int = 200,
    step: Callable[[Any], Any] | None = None,
) -> LoaderReport:
    """Says what a data loader is slow for, and what to do first.

    A copy of the loader is iterated over, once. What its workers, its threads and the step do, and
    when they wait for each other, is noted on the way. The loader stays as it is, and the batches
    and their order are those that it would give. At the end the states of random numbers are put
    back: those of Python, of NumPy, of torch on the CPU, and of the generators of the loader and of
    its samplers. What a sampler, the step, or a dataset in this process keeps for itself is not.

    Where :func:`tensorlift.collate` may be the remedy it is measured: the loader runs for some
    seconds more, and its own `collate_fn` and ours make the batches by turns.

    Args:
        loader: a DataLoader, or a :class:`tensorlift.DevicePrefetcher` around one, whose batches
            are sent as that sends them.
        batches: how many to take, at least 1; fewer where the loader ends before.
        step: called with each batch, as the training step is; what it has given to an accelerator
            is waited for. Without it the consumer takes batches as fast as they come.

    Exceptions of the loader and of the step are passed on.

    Returns:
        The report: `print` shows it, and its method `plot` draws it.

    Raises:
        TypeError: `loader` is no such loader, `batches` no int, or `step` no function.
        ValueError: `batches` is less than 1; the loader has no batch.

    Example:
        >>> import numpy as np, tensorlift
        >>> from torch.utils.data import DataLoader
        >>> loader = DataLoader([{"x": np.zeros(3), "y": i} for i in range(64)], batch_size=8)
        >>> report = tensorlift.profile_loader(loader)
        >>> report.batches, report.arrays
        (8, 2.0)
    """
    check(loader, batches, step)
    prefetcher = loader if isinstance(loader, DevicePrefetcher) else None
    inner: Any = loader if prefetcher is None else prefetcher.loader
    with restored(inner), progress("profile", batches) as begin:
        ran = run(inner, prefetcher, batches, step, after_step=_Shown(begin))
        by_lane = shares_by_lane(ran)
        facts = _facts_of(ran, by_lane, inner.num_workers)
        verdict = judge(facts)
        trial: Trial | NoTrial = "not measured"
        if verdict in ("collating", "many small arrays", "crossing"):
            begin("is tensorlift.collate faster?", 0)
            trial = try_ours(inner)
            verdict = judge(facts, trial)
    advice = advise(facts, verdict, trial)
    contents = _contents(ran)
    return LoaderReport(
        verdict=verdict,
        remedy=advice.remedy,
        gain=advice.gain,
        num_workers=inner.num_workers,
        batches=ran.steps,
        samples=fmean(content.samples for content in contents),
        arrays=facts.arrays,
        nbytes=facts.nbytes,
        startup_seconds=ran.startup,
        step_seconds=facts.step,
        shares=dict(facts.shares),
        workers=tuple(shares for lane, shares in by_lane.items() if lane.where == "worker"),
        explanation=next(c.explanation for c in contents if c.explanation is not None),
        _intervals=_in_the_middle(ran),
    )


class _Shown:
    """Counts steps, and shows them now and then."""

    def __init__(self, show: Callable[[str, int], None]) -> None:
        self._show = show
        self._steps = 0
        self._last = now()

    def __call__(self, log: Log) -> bool:
        self._steps += 1
        if now() > self._last + _SHOWN_EVERY:
            self._show("", self._steps)
            self._steps, self._last = 0, now()
        return False


def check(loader: Any, batches: Any, step: Any) -> None:
    """Raises what `profile_loader` does for its arguments."""
    inner = loader.loader if isinstance(loader, DevicePrefetcher) else loader
    if not issubclass(type(inner), DataLoader):
        around = "a DevicePrefetcher around " if inner is not loader else ""
        raise TypeError(
            "loader: expected a torch.utils.data.DataLoader, or a DevicePrefetcher around one, got "
            f"{around}{type(inner).__name__}. Pass the DataLoader that its batches come from."
        )
    if isinstance(batches, bool) or not isinstance(batches, int):
        raise TypeError(f"batches: expected an int, got {batches!r}.")
    if batches < 1:
        raise ValueError(f"batches: expected at least 1, got {batches}.")
    if step is not None and not callable(step):
        raise TypeError(
            f"step: expected a function of a batch, or None, got {type(step).__name__}."
        )


def _facts_of(ran: Ran, by_lane: dict[Lane, Shares], num_workers: int) -> Facts:
    contents = _contents(ran)
    made = ran.log.made
    busiest: dict[Where, float] = {}
    for lane, shares in by_lane.items():
        busiest[lane.where] = max(busiest.get(lane.where, 0.0), 1 - shares.get("waiting", 0.0))
    return Facts(
        step=ran.seconds,
        shares=shares_by_place(by_lane),
        busiest=busiest,
        num_workers=num_workers,
        cores=machine.cores(),
        cpu=sum(m.cpu for m in made) / sum(m.collated - m.began for m in made),
        leaves=fmean(content.leaves for content in contents),
        numbers=fmean(content.numbers for content in contents),
        arrays=fmean(content.arrays for content in contents),
        nbytes=fmean(content.nbytes for content in contents),
        pickled=fmean(content.pickled for content in contents),
    )


def _contents(ran: Ran) -> list[Content]:
    return [made.content for made in ran.log.made if made.content is not None]


def _in_the_middle(ran: Ran) -> tuple[Interval, ...]:
    """What happened in some steps, for a picture; times since the first of them."""
    first = max(0, (ran.steps - _DRAWN) // 2)
    begin, end = ran.begin, ran.end
    if ran.steps > 1:
        begin, end = ran.delivered[first], ran.delivered[first : first + _DRAWN][-1]
    return tuple(
        i._replace(begin=max(i.begin, begin) - begin, end=min(i.end, end) - begin)
        for i in ran.log.intervals
        if i.end > begin and i.begin < end and i.stage != "noting"
    )
