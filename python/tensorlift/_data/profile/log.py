"""What happened when, while a profiled loader ran."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from ..._ops.explanation import Explanation
from .core_seconds import core_seconds
from .stages import Stage, Where

#: Which collate function has made a batch: see trial.py.
Way: TypeAlias = Literal["", "compare", "different", "theirs", "ours"]

now = time.perf_counter  # of all processes of a machine the same clock


class Lane(NamedTuple):
    """Who does one thing after the other: a worker by its number, or a thread of the consumer's."""

    where: Where
    number: int = 0


CONSUMER = Lane("consumer")
TRANSFER_THREAD = Lane("transfer thread")
PIN_THREAD = Lane("pin thread")


class Interval(NamedTuple):
    """Time that somebody was busy; what lies between them is waiting."""

    lane: Lane
    stage: Stage
    begin: float
    end: float


class Content(NamedTuple):
    """What is in a batch.

    Attributes:
        samples: how many it was made of; 0 where they were no list.
        leaves: arrays, tensors and numbers in the samples.
        numbers: those of Python among them.
        arrays: tensors and arrays in the batch.
        nbytes: of those.
        pickled: bytes of those that are no tensors.
        explanation: of arrays in the samples; of a worker's first batch alone.
    """

    samples: int
    leaves: int
    numbers: int
    arrays: int
    nbytes: int
    pickled: int
    explanation: Explanation | None


@dataclass
class Made:
    """A batch, as the process says that made it, and when it was sent and received.

    Attributes:
        worker: its number; None without workers.
        began: when its indices were there; without workers, when it was asked for.
        read: when its samples were there.
        collated: when the batch was.
        noted: when its content was.
        cpu: seconds meanwhile for which a core was needed, as of `core_seconds`.
        content: of the first batches of a process alone.
        way: which collate function made it, where there are two.
        sent: when its pickling began and ended.
        received: when it was asked for and on its way, and when it was unpickled.
    """

    worker: int | None
    began: float
    read: float
    collated: float
    noted: float
    cpu: float
    content: Content | None = None
    way: Way = ""
    sent: tuple[float, float] | None = None
    received: tuple[float, float] | None = None


class Log:
    """Of one iteration; kept in the consumer's process, where several threads write to it.

    Args:
        taker: whose thread calls `next` of the loader.
        has_workers: whether the loader has.
        is_pinned: whether it pins its batches.
    """

    def __init__(self, taker: Lane, *, has_workers: bool, is_pinned: bool) -> None:
        self.intervals: list[Interval] = []
        self.made: list[Made] = []
        self._taker = taker
        self._has_workers = has_workers
        self._is_pinned = is_pinned
        self._thread = 0  # that called `next`
        self._until = 0.0  # when what is known of that call ended
        self._cpu = 0.0  # when it began
        self._gets_by_taker = False
        self._pin_thread_until: float | None = None

    def add(self, lane: Lane, stage: Stage, begin: float, end: float) -> None:
        """Somebody was busy."""
        self.intervals.append(Interval(lane, stage, begin, end))

    def begin_next(self) -> None:
        """The loader is asked for a batch."""
        self._thread = threading.get_ident()
        self._cpu = core_seconds()
        self._until = now()

    def end_next(self) -> None:
        """The batch is there."""
        if self._has_workers and self._gets_by_taker:
            self.add(self._taker, "indices", self._until, now())
        elif not self._has_workers and self._is_pinned:
            self.add(self._taker, "pinning", self._until, now())

    def add_made_here(self, made: Made) -> None:
        """A batch that the taker's thread has made itself, which does not know when it began."""
        made.began = self._until
        made.cpu -= self._cpu
        self._add_made(made, self._taker)
        self._until = made.noted

    def add_sent(self, begin: float, end: float) -> None:
        """Indices were put into a worker's queue, in a call of `next`."""
        if threading.get_ident() == self._thread and self._gets_by_taker:
            self.add(self._taker, "indices", self._until, begin)
            self.add(self._taker, "sending", begin, end)
            self._until = end

    def add_received(self, made: Made | None, asked: float, sent: float, done: float) -> None:
        """A worker's message: when it was asked for, when it was sent, when it was unpickled.

        If it was sent before it was asked for, that time counts.
        """
        if made is not None:
            made.received = (sent, done)
            self._add_made(made, Lane("worker", made.worker or 0))
        if threading.get_ident() == self._thread:
            self._gets_by_taker = True
            self.add(self._taker, "indices", self._until, asked)
            self.add(self._taker, "receiving", sent, done)
            self._until = done
        elif self._is_pinned:
            if self._pin_thread_until is not None:
                self.add(PIN_THREAD, "pinning", self._pin_thread_until, asked)
            self.add(PIN_THREAD, "receiving", sent, done)
            self._pin_thread_until = done

    def add_nothing_received(self) -> None:
        """Who has asked for a message has waited in vain, and will ask again."""
        if threading.get_ident() == self._thread:
            self._until = now()
        else:
            self._pin_thread_until = None

    def _add_made(self, made: Made, lane: Lane) -> None:
        self.made.append(made)
        self.add(lane, "reading", made.began, made.read)
        self.add(lane, "collating", made.read, made.collated)
        self.add(lane, "noting", made.collated, made.noted)
        if made.sent is not None:
            self.add(lane, "sending", *made.sent)
