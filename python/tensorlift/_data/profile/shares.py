"""Intervals, summed up: who was busy with what for which part of its time."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import TypeAlias

from .log import Interval, Lane
from .run import Ran
from .stages import STAGES, WHERE, Stage, Where

Shares: TypeAlias = dict[Stage, float]


def shares_by_lane(ran: Ran) -> dict[Lane, Shares]:
    """Of each lane's time, from the first batch to the last.

    A worker's time ends with the last batch that was received of it: what it has made since is not
    known.
    """
    intervals: dict[Lane, list[Interval]] = defaultdict(list)
    for interval in ran.log.intervals:
        intervals[interval.lane].append(interval)
    return {
        lane: _shares_of(
            intervals[lane],
            ran.begin,
            min(ran.end, _last_made(intervals[lane])) if lane.where == "worker" else ran.end,
        )
        for lane in sorted(intervals, key=lambda lane: (WHERE.index(lane.where), lane.number))
    }


def _last_made(intervals: list[Interval]) -> float:
    return max(interval.end for interval in intervals if interval.stage == "collating")


def _shares_of(intervals: list[Interval], begin: float, end: float) -> Shares:
    if begin >= end:  # all of a worker's batches were there before the first was asked for
        begin = min(interval.begin for interval in intervals)
    seconds: dict[Stage, float] = defaultdict(float)
    for interval in intervals:
        seconds[interval.stage] += max(0.0, min(interval.end, end) - max(interval.begin, begin))
    there_was = end - begin - seconds.pop("noting", 0.0)
    # It may be busy for longer than that: a worker pickles in a thread of its own.
    total = max(there_was, sum(seconds.values()))
    seconds["waiting"] = total - sum(seconds.values())
    return {stage: seconds[stage] / total for stage in STAGES if stage in seconds}


def shares_by_place(by_lane: dict[Lane, Shares]) -> dict[Where, Shares]:
    """As `shares_by_lane`, the mean of all workers."""
    lanes: dict[Where, list[Shares]] = defaultdict(list)
    for lane, shares in by_lane.items():
        lanes[lane.where].append(shares)
    return {where: _mean(of_all) for where, of_all in lanes.items()}


def _mean(many: list[Shares]) -> Shares:
    there = [stage for stage in STAGES if any(stage in shares for shares in many)]
    return {stage: fmean(shares.get(stage, 0.0) for shares in many) for stage in there}
