"""What notes the time inside of a loader: around its collate_fn and in its queues.

The dataset, the sampler and what workers begin with stay the user's own. When samples are read is
known from the queue that gave a worker their indices, and from the call of collate_fn. A message of
a worker carries marks, which note the time when they are pickled and when they are unpickled.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.context import BaseContext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import multiprocessing
from torch.utils.data import DataLoader, get_worker_info

from ..._ops.explain import explain
from ..loader_copy import with_arguments
from ..tree import leaves_of
from .core_seconds import core_seconds
from .log import Content, Log, Made, Way, now

_COUNTED = 4  # batches of a process whose content is looked at
_EXPLAINED = 1000  # arrays


def watched(loader: DataLoader[Any], log: Log, collate: WatchedCollate) -> DataLoader[Any]:
    """A copy of the loader that writes to the log."""
    arguments: dict[str, Any] = {"collate_fn": collate}
    if loader.num_workers > 0:
        context = loader.multiprocessing_context or multiprocessing.get_context()
        arguments["multiprocessing_context"] = WatchedContext(context, log)
    copied: DataLoader[Any] = with_arguments(loader, arguments)
    return copied


class _Task:
    """Of a worker: what it is making."""

    began = 0.0
    cpu = 0.0
    made: Made | None = None


_task = _Task()


class WatchedCollate:
    """A collate_fn, timed; the batch is what it returns.

    Args:
        collate_fn: the user's.
        log: of the consumer's process.
    """

    def __init__(self, collate_fn: Callable[[Any], Any], log: Log) -> None:
        self.collate_fn = collate_fn
        self._log: Log | None = log
        self._calls = 0  # in this process

    def __getstate__(self) -> dict[str, Any]:
        """For a worker that is spawned: the log stays here."""
        return {**vars(self), "_log": None}

    def __call__(self, samples: Any) -> Any:
        """The batch."""
        worker = get_worker_info()
        read = now()
        batch, way = self.collate(samples)
        collated = now()
        cpu = core_seconds()
        content = None
        if self._calls < _COUNTED:
            content = _content(samples, batch, with_explanation=self._calls == 0)
        self._calls += 1
        made = Made(None, 0.0, read, collated, now(), cpu, content, way)
        if worker is not None:
            made.worker, made.began = worker.id, _task.began
            made.cpu -= _task.cpu
            _task.made = made
        elif self._log is not None:
            self._log.add_made_here(made)
        return batch

    def collate(self, samples: Any) -> tuple[Any, Way]:
        """The batch, and which way it was made."""
        return self.collate_fn(samples), ""


class WatchedContext(BaseContext):
    """A context of multiprocessing with other queues."""

    def __init__(self, context: Any, log: Log) -> None:
        self._context = context
        self._log = log
        self.Process = context.Process

    def Queue(self, maxsize: int = 0) -> Any:  # noqa: N802
        """For indices or for batches."""
        return WatchedQueue(self._context.Queue(maxsize), self._log)

    def get_context(self, method: str | None = None) -> Any:
        """What all other functions ask."""
        return self._context.get_context(method)

    def get_start_method(self, allow_none: bool = False) -> str:
        """The context's own."""
        return str(self._context.get_start_method(allow_none))


class _Arrival(NamedTuple):
    """What a mark is unpickled as."""

    sent: float
    received: float
    made: Made | None


class _Mark:
    """Notes when it is pickled."""

    def __init__(self, made: Made | None = None) -> None:
        self._made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrival, (now(), self._made)


def _arrival(sent: float, made: Made | None) -> _Arrival:
    return _Arrival(sent, now(), made)


class WatchedQueue:
    """A queue of multiprocessing between a loader and its workers.

    Workers get indices and put batches. What the consumer's process puts is left as it is.
    """

    def __init__(self, queue: Any, log: Log | None) -> None:
        self._queue = queue
        self._log = log

    def __getstate__(self) -> Any:
        """For a worker that is spawned: the log stays here."""
        return self._queue

    def __setstate__(self, state: Any) -> None:
        self.__init__(state, None)  # type: ignore[misc]

    def __getattr__(self, name: str) -> Any:
        """Of the queue."""
        if name.startswith("__") or name == "_queue":
            raise AttributeError(name)
        return getattr(self._queue, name)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """From a worker: with marks, and with what is known of the batch. Indices are timed."""
        if get_worker_info() is not None:
            made, _task.made = _task.made, None
            self._queue.put((_Mark(), item, _Mark(made)), block, timeout)
            return
        begin = now()
        self._queue.put(item, block, timeout)
        if self._log is not None:
            self._log.add_sent(begin, now())

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """In a worker: begins with the next batch. Elsewhere: what a worker has put, and when."""
        if get_worker_info() is not None:
            item = self._queue.get(block, timeout)
            _task.cpu = core_seconds()
            _task.began = now()
            return item
        if self._log is None:
            return self._queue.get(block, timeout)
        asked = now()
        if not connection.wait([self._queue._reader], timeout if block else 0):
            self._log.add_nothing_received()
            raise queue.Empty
        arrived = now()
        message = self._queue.get()
        if not (type(message) is tuple and isinstance(message[0], _Arrival)):
            return message  # the consumer's own, by which it ends its threads
        first, item, last = message
        made = last.made
        if made is not None:
            made.sent = (first.sent, last.sent)
        # Who has asked before it was sent has waited for that, and then for it to arrive.
        coming = max(asked, min(arrived, last.sent))
        self._log.add_received(made, asked, coming, now())
        return item


def _content(samples: Any, batch: Any, *, with_explanation: bool) -> Content:
    leaves = [leaf for _, leaf in leaves_of(samples)]
    explanation = None
    if with_explanation:
        arrays = [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]
        explanation = explain(arrays[:_EXPLAINED], readonly="share")
    made = [leaf for _, leaf in leaves_of(batch) if isinstance(leaf, (np.ndarray, torch.Tensor))]
    sizes = [_nbytes(leaf) for leaf in made]
    pickled = [n for n, leaf in zip(sizes, made, strict=True) if isinstance(leaf, np.ndarray)]
    return Content(
        samples=len(samples) if isinstance(samples, (list, tuple)) else 0,
        leaves=sum(isinstance(leaf, _COLLATED) for leaf in leaves),
        numbers=sum(isinstance(leaf, (int, float)) for leaf in leaves),
        arrays=len(made),
        nbytes=sum(sizes),
        pickled=sum(pickled),
        explanation=explanation,
    )


_COLLATED = (np.ndarray, np.generic, torch.Tensor, int, float)


def _nbytes(leaf: Any) -> int:
    if isinstance(leaf, torch.Tensor) and leaf.layout != torch.strided:
        return 0
    return int(leaf.nbytes)
