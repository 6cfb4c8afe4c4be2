"""What a loader is slow for, and the first thing to do about it.

Of everybody who takes part, the one that waits least is what the others wait for; what it does most
is the verdict. What a remedy would give is how long a step would be, were that stage shorter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..._text import format_bytes, format_time
from .shares import Shares
from .stages import Stage, Verdict, Where
from .trial import NoTrial, Trial

_MODEL_ALONE = 0.8  # of a step: no loader can make it more than 1.25 times as fast
_WORTH_A_WORD = 0.1  # of a thread's time
_WAITS = 0.5  # of a core: who needs less mostly waits, for a disk or a network
_MOST_WORKERS_PER_CORE = 4

# Seconds of torch's default_collate for each array of a sample, of its way from a worker for each
# tensor, and of both for a byte, as measured on two cores at 2.8 GHz; and how many times as long it
# may take elsewhere.
_PER_LEAF, _PER_TENSOR, _PER_BYTE = 2e-6, 200e-6, 1e-9
_SLOWEST = 10
_MANY = 200  # arrays and numbers


_NOTICED = 1.05  # times as fast
_WORTH_A_TRIAL = 1.1  # ours must be that much faster to be a remedy
_WORTH_NO_WORKERS = 1.25  # steps without workers must be
_LOADING: tuple[Stage, ...] = (
    *("reading", "collating", "sending", "receiving", "indices", "pinning", "transfer", "freeing"),
)


@dataclass(frozen=True)
class Facts:
    """What is known of an iteration.

    Attributes:
        step: seconds from batch to batch.
        shares: of everybody's time.
        busiest: the share of it that was not waited; of workers the one that waits least.
        num_workers: the loader's.
        cores: of this machine, for this process.
        cpu: of reading and collating, the part that a core was needed for.
        leaves: arrays and numbers in the samples of a batch.
        numbers: those of Python among them.
        arrays: in a batch.
        nbytes: of those.
        pickled: bytes of those that are no tensors.
    """

    step: float
    shares: Mapping[Where, Shares]
    busiest: Mapping[Where, float]
    num_workers: int
    cores: int
    cpu: float
    leaves: float
    numbers: float
    arrays: float
    nbytes: float
    pickled: float

    def share(self, where: Where, *stages: Stage) -> float:
        """The part of its time that somebody spends with these."""
        return sum(self.shares.get(where, {}).get(stage, 0.0) for stage in stages)

    def seconds(self, *stages: Stage) -> float:
        """Of all who do them, for a batch."""
        return self.step * sum(
            self.share(where, *stages) * (self.num_workers if where == "worker" else 1)
            for where in self.shares
        )


def judge(facts: Facts, trial: Trial | NoTrial = "not measured") -> Verdict:
    """What the others wait for.

    Args:
        facts: what is known.
        trial: where it says that `collate_fn` is none like torch's, numbers of Python count for
            nothing: a list of token ids is no more than one array there, whatever its length.
    """
    if trial == "another batch" or trial == "ours already":
        facts = replace(facts, leaves=facts.leaves - facts.numbers)
    model = facts.share("consumer", "the model")
    if model >= _MODEL_ALONE:
        return "the model"
    largest: list[tuple[float, Stage]] = []
    for where in sorted(facts.shares, key=lambda where: -facts.busiest[where]):
        shares = facts.shares[where]
        loading = max((shares.get(stage, 0.0), stage) for stage in _LOADING)
        if loading[0] >= _WORTH_A_WORD:
            return _verdict(loading[1], facts)
        largest.append(loading)
    return "the model" if model > 0 else _verdict(max(largest)[1], facts)


def _verdict(stage: Stage, facts: Facts) -> Verdict:
    if stage in ("collating", "sending", "receiving", "freeing") and _is_of_small_arrays(facts):
        return "many small arrays"
    if stage == "reading":
        return "too few workers" if facts.num_workers < facts.cores else "reading"
    if stage == "pinning" or stage == "transfer" or stage == "collating":
        return stage
    if stage == "freeing" and facts.num_workers == 0:
        return "collating"
    return "sampling" if stage == "indices" else "crossing"


def _is_of_small_arrays(facts: Facts) -> bool:
    """Whether the time is what so many arrays cost, and more than what their bytes do."""
    if facts.leaves < _MANY:
        return False
    there = facts.arrays if facts.num_workers > 0 else 0.0
    by_number = facts.leaves * _PER_LEAF + there * _PER_TENSOR
    taken = facts.seconds("collating", "sending", "receiving")
    return by_number > facts.nbytes * _PER_BYTE and taken < by_number * _SLOWEST


class Advice(NamedTuple):
    """What to do first.

    Attributes:
        remedy: in a sentence.
        gain: how many times as many steps a second that would give.
    """

    remedy: str
    gain: float


def advise(facts: Facts, verdict: Verdict, trial: Trial | NoTrial = "not measured") -> Advice:
    """The first thing to do.

    Args:
        facts: what is known.
        verdict: on them.
        trial: of tensorlift.collate, where the verdict is about what that does.
    """
    if verdict == "the model":
        gain = _gain(facts, dict.fromkeys(_LOADING, 0.0))
        part = facts.share("consumer", "the model")
        return Advice(
            f"Make the step faster: it is {part:.0%} of the consumer's time, and a loader that "
            f"takes no time would give {_times(gain, at_most=True)} steps a second.",
            gain,
        )
    if verdict in ("too few workers", "reading"):
        return _advise_on_reading(facts)
    if verdict in ("collating", "many small arrays", "crossing"):
        return _advise_on_collating(facts, verdict, trial)
    if verdict == "transfer":
        gain = _gain(facts, {"transfer": 0.5})
        return Advice(
            f"Send less than {format_bytes(facts.nbytes)} a batch: narrower dtypes that the device "
            f"casts (uint8 for images), and nothing that the step does not read; half the bytes "
            f"would give {_times(gain)} steps a second.",
            gain,
        )
    if verdict == "pinning":
        gain = _gain(facts, {"pinning": 0.0})
        return Advice(
            "pin_memory=False, and tensorlift.DevicePrefetcher(loader, device), which copies "
            "batches to page-locked memory that is there already: "
            f"{_times(gain, at_most=True)} steps a second.",
            gain,
        )
    gain = _gain(facts, {"indices": 0.0})
    return Advice(
        "A sampler that has its indices ready, as a list of int, not drawn one by one: "
        f"{_times(gain, at_most=True)} steps a second.",
        gain,
    )


def _advise_on_reading(facts: Facts) -> Advice:
    workers = facts.num_workers
    where: Where = next(where for where in facts.shares if facts.share(where, "reading") > 0)
    making = facts.share(where, "reading", "collating", "sending")
    others = max((_busy(s) for name, s in facts.shares.items() if name != where), default=0.0)
    if workers == 0:  # whoever makes batches now has the rest to do then
        others = max(others, _busy(facts.shares[where]) - making)
    else:
        making *= workers
    now = _busiest(facts)
    limit = facts.cores
    if facts.cpu < _WAITS:
        most = facts.cores * _MOST_WORKERS_PER_CORE
        limit = max(limit, min(int(facts.cores / max(facts.cpu, 0.01)), most))
    wanted = math.ceil(making / others - 1e-6) if others > making / limit else limit
    number = min(limit, max(workers + 1, wanted))
    if number <= workers:
        gain = _gain(facts, {"reading": 0.0})
        return Advice(
            "Let the dataset do less for a sample, or have samples ready to be read (np.memmap, "
            f"one file for many): all {facts.cores} cores read already, and a dataset that takes "
            f"no time would give {_times(gain)} steps a second.",
            gain,
        )
    gain = max(1.0, now / max(others, making / number))
    why = ""
    if number > facts.cores:
        why = f" (more than cores: a worker needs one for {facts.cpu:.0%} of its time alone)"
    return Advice(
        f"num_workers={number} instead of {workers}{why}: {_times(gain)} steps a second.", gain
    )


def _advise_on_collating(facts: Facts, verdict: Verdict, trial: Trial | NoTrial) -> Advice:
    stages: tuple[Stage, ...] = ("collating", "sending", "receiving")
    if isinstance(trial, Trial) and trial.ratio >= _WORTH_A_TRIAL:
        making = trial.ours.making / trial.theirs.making
        receiving = trial.ours.receiving / (trial.theirs.receiving or math.inf)
        gain = _gain(facts, {"collating": making, "sending": making, "receiving": receiving})
        return Advice(
            "collate_fn=tensorlift.collate: a batch of this loader takes "
            f"{format_time(sum(trial.ours))} instead of {format_time(sum(trial.theirs))} "
            f"({_two_digits(trial.ratio)} times as fast, measured): {_times(gain)} steps a second.",
            gain,
        )
    gain = _gain(facts, dict.fromkeys(stages, 0.0))
    alone = _busiest(facts) / _without_workers(facts)
    if facts.num_workers > 0 and alone > _WORTH_NO_WORKERS:
        return Advice(
            f"num_workers=0: to read and collate a batch takes less time than to get it from a "
            f"worker: {_times(alone)} steps a second.",
            alone,
        )
    most = f"{_times(gain, at_most=True)} steps a second."
    if verdict == "many small arrays":
        return Advice(
            f"Let a sample have fewer arrays, one of several columns for instance: there are "
            f"{facts.leaves:.0f} in the samples of a batch, and {facts.arrays:.0f} in the batch: "
            f"{most}",
            gain,
        )
    if facts.pickled > facts.nbytes / 2:
        return Advice(
            f"Let collate_fn return tensors, which lie in shared memory: the arrays of a batch are "
            f"pickled, {format_bytes(facts.pickled)}: {most}",
            gain,
        )
    if trial == "another batch":
        return Advice(
            "Let tensorlift.Collate do what collate_fn does, if it has an option for that (pad, "
            "jagged, dtype, channel_dim, normalize): it makes a batch in one pass, in one piece of "
            f"shared memory. Or let collate_fn do less for each sample: {most}",
            gain,
        )
    if verdict == "collating":
        return Advice(
            f"Let collate_fn do less for each sample: {most}",
            gain,
        )
    return Advice(
        f"Send less than {format_bytes(facts.nbytes)} a batch to the consumer: {most}", gain
    )


def _without_workers(facts: Facts) -> float:
    """What a step would take of the time that it takes now."""
    loaders = {where: shares for where, shares in facts.shares.items() if where != "worker"}
    making = facts.num_workers * facts.share("worker", "reading", "collating")
    others = max(_busy(shares) for shares in loaders.values())
    crossing = max(facts.share(where, "sending", "receiving") for where in loaders)
    return max(making + others - crossing, 1e-2)


def _busiest(facts: Facts) -> float:
    return max(map(_busy, facts.shares.values()))


def _busy(shares: Shares) -> float:
    return sum(share for stage, share in shares.items() if stage != "waiting")


def _gain(facts: Facts, factors: Mapping[Stage, float]) -> float:
    """How much faster steps follow each other where stages take so many times as long."""

    def longest(factors: Mapping[Stage, float]) -> float:
        return max(
            sum(share * factors.get(stage, 1.0) for stage, share in shares.items())
            for shares in facts.shares.values()
        )

    waiting: dict[Stage, float] = {"waiting": 0.0}
    return max(1.0, longest(waiting) / max(longest({**waiting, **factors}), 1e-2))


def _times(gain: float, *, at_most: bool = False) -> str:
    if gain < _NOTICED:
        return "hardly more"
    return f"{'at most' if at_most else 'about'} {_two_digits(gain)} times as many"


def _two_digits(number: float) -> str:
    """As 3.4 and 120."""
    return f"{float(f'{number:.2g}'):g}"
