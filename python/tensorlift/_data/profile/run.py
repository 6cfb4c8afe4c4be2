"""Takes batches of a profiled loader as its user does, and gives each to the step."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from ... import _C
from ..into import Slot, copied_into
from ..prefetch import DevicePrefetcher
from ..prefetch_thread import Run, Sent
from ..send import send_plainly
from .log import CONSUMER, TRANSFER_THREAD, Log, now
from .watch import WatchedCollate, watched


class NoBatchError(ValueError):
    """The loader is empty."""


@dataclass(frozen=True)
class Ran:
    """An iteration that is over.

    Attributes:
        log: what happened.
        delivered: when each batch was.
        startup: seconds until the first was there.
        begin: when it was there. What comes before is how workers begin, not how a loader runs; but
            where there is no second batch, it is when the loader was asked for an iterator.
        end: when the last batch was there; without a second, when its step was done.
    """

    log: Log
    delivered: list[float]
    startup: float
    begin: float
    end: float

    @property
    def steps(self) -> int:
        """How many batches were taken."""
        return len(self.delivered)

    @property
    def seconds(self) -> float:
        """From batch to batch, without what is noted in the consumer's own thread."""
        noting = sum(
            interval.end - interval.begin
            for interval in self.log.intervals
            if (interval.lane, interval.stage) == (CONSUMER, "noting")
            and self.begin < interval.end <= self.end
        )
        return (self.end - self.begin - noting) / max(self.steps - 1, 1)


def run(
    loader: DataLoader[Any],
    prefetcher: DevicePrefetcher[Any] | None,
    batches: int,
    step: Callable[[Any], Any] | None,
    collate_type: type[WatchedCollate] = WatchedCollate,
    after_step: Callable[[Log], bool] = lambda log: False,
) -> Ran:
    """Iterates over a copy of the loader, and ends it.

    Args:
        loader: the user's.
        prefetcher: the user's, around it.
        batches: at most so many.
        step: what is done with each.
        collate_type: what is put around the loader's collate_fn.
        after_step: asked each time whether that is enough.

    Raises:
        NoBatchError: there is none.
        TypeError: batches come, and not from torch's part of the loader.
    """
    has_thread = prefetcher is not None and prefetcher._is_packed
    taker = TRANSFER_THREAD if has_thread else CONSUMER
    has_workers = loader.num_workers > 0
    is_pinned = loader.pin_memory and torch.accelerator.is_available()
    log = Log(taker, has_workers=has_workers, is_pinned=is_pinned)
    copied = watched(loader, log, collate_type(loader.collate_fn, log))
    begin = end = now()
    delivered: list[float] = []
    with contextlib.closing(_batches(copied, prefetcher, log)) as source:
        while len(delivered) < batches:
            batch = next(source, _NONE)
            if batch is _NONE:
                break
            delivered.append(now())
            if len(delivered) == 1:
                _check_that_it_was_seen(loader, log)
            if step is not None:
                step(batch)
            if step is not None or prefetcher is not None:
                _wait_for_device(prefetcher)
            if step is not None:
                log.add(CONSUMER, "the model", delivered[-1], now())
            done = now()
            del batch
            end = now()
            log.add(CONSUMER, "freeing", done, end)
            if after_step(log):
                break
    if not delivered:
        raise NoBatchError(
            "loader: expected at least one batch, got none. See whether its dataset is empty, or "
            "was an iterator that has come to its end."
        )
    window = (delivered[0], delivered[-1]) if len(delivered) > 1 else (begin, end)
    return Ran(log, delivered, delivered[0] - begin, *window)


_NONE = object()


def _batches(
    copied: DataLoader[Any], prefetcher: DevicePrefetcher[Any] | None, log: Log
) -> Generator[Any, None, None]:
    taken = _Taken(iter(copied), log)
    if prefetcher is None:
        return _closable(taken)
    if not prefetcher._is_packed:
        return _sent_plainly(taken, prefetcher.device, prefetcher.into, log)
    return _sent(taken, prefetcher, log)


class _Taken:
    """The loader's iterator; notes when it is asked."""

    def __init__(self, iterator: Iterator[Any], log: Log) -> None:
        self._iterator = iterator
        self._log = log

    def __iter__(self) -> _Taken:
        return self

    def __next__(self) -> Any:
        self._log.begin_next()
        batch = next(self._iterator)
        self._log.end_next()
        return batch


# None of these generators keeps a batch that it has given away.


def _closable(taken: _Taken) -> Generator[Any, None, None]:
    with contextlib.suppress(StopIteration):
        while True:
            yield next(taken)


def _sent_plainly(
    taken: _Taken, device: torch.device, into: Any, log: Log
) -> Generator[Any, None, None]:
    def send() -> Any:
        batch = next(taken)
        begin = now()
        if into is None:
            moved = send_plainly(batch, device)
        else:
            moved = copied_into(send_plainly(batch, torch.device("cpu")), into, "into")
        log.add(CONSUMER, "transfer", begin, now())
        return moved

    with contextlib.suppress(StopIteration):
        while True:
            yield send()


def _sent(taken: _Taken, prefetcher: DevicePrefetcher[Any], log: Log) -> Generator[Any, None, None]:
    """As DevicePrefetcher does it."""
    threads = prefetcher.threads or _C.staging()[2] or _C.default_threads()
    sending = _TimedRun(
        taken,
        prefetcher.device,
        prefetcher.depth,
        threads,
        threading.Lock(),
        None,
        prefetcher.into,
    )
    sending.log = log
    sending.start()
    try:
        yield from sending
    finally:
        sending.stop()
        sending.thread.join()  # it draws random numbers, where there are no workers


class _TimedRun(Run):
    log: Log

    def _send(
        self, batch: Any, stream: torch.Stream, threads: int, state: Any, slot: Slot | None
    ) -> Sent:
        begin = now()
        sent = super()._send(batch, stream, threads, state, slot)
        sent.event.synchronize()
        self.log.add(TRANSFER_THREAD, "transfer", begin, now())
        return sent


def _wait_for_device(prefetcher: DevicePrefetcher[Any] | None) -> None:
    """A step is over when the device has done what it was given, if anything."""
    device = torch.accelerator.current_accelerator() if prefetcher is None else prefetcher.device
    if device is None or device.type == "cpu" or not torch.accelerator.is_available():
        return
    is_initialized = getattr(torch.get_device_module(device), "is_initialized", lambda: True)
    if is_initialized():
        torch.accelerator.current_stream(device).synchronize()


def _check_that_it_was_seen(loader: DataLoader[Any], log: Log) -> None:
    if not log.made:
        raise TypeError(
            "loader: expected batches that torch's DataLoader makes, got some that a "
            f"{type(loader).__name__} takes from elsewhere. Pass the DataLoader that it takes them "
            "from."
        )
