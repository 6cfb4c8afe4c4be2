"""Batches that are on the device before they are asked for."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

import torch
from torch.utils.data import DataLoader

from .. import _C
from .._typing import Device
from .into import check_buffers, copied_into
from .loader_copy import with_arguments
from .prefetch_thread import Run
from .send import send_plainly

T = TypeVar("T")

_CPU = torch.device("cpu")


class DevicePrefetcher(Generic[T]):
    """A loader whose next batches are sent to a device while the last one is being worked on.

    A thread takes batches from the loader, packs the arrays and tensors of each, whatever their
    tree, and sends them on a stream of its own. The consumer gets the batches in order; its current
    stream waits for the copies, and the host does not. With a CPU it only converts, without a
    thread, so that code needs no branches.

    In everything else it is the loader: it has the loader's attributes and its length, and it is an
    instance of the loader's class. Nothing is started, and no random number drawn, before the first
    batch is asked for.

    Args:
        loader: what gives batches: a DataLoader, a generator, a list. Every iteration of this
            object calls `iter()` of it once, and takes its batches in a thread.
        device: where the batches are to be.
        depth: how many batches are sent ahead, at least 1. Each is device memory.
        into: a tree like that of a batch, for instance an earlier batch on the device, to whose
            tensors every batch is copied: their addresses stay, as a CUDA graph wants it. Each has
            the dtype of the batch's tensor and at least as many rows (the size of the first
            dimension); a batch of fewer has views of the first ones. Where it has None, batches
            have a tensor of their own. See below.
        threads: how many threads pack a batch; None for as many as torch uses in the thread that
            made this object, or as :func:`tensorlift.staging` says.
        arguments: of :class:`torch.utils.data.DataLoader`, `sampler` for instance: the loader,
            which must be a DataLoader, is copied and has these instead of its own. This is how
            Lightning puts in a DistributedSampler.

    Arrays, NumPy numbers, CPU tensors and TensorDicts of a batch arrive on the device, each in
    memory of its own; everything else is passed on as it is. For a CPU arrays are shared if
    possible, read-only ones copied. Tensors that are pinned already and large are sent from where
    they are; so are those of 64 KiB and more that a worker has collated, whose shared memory is
    registered with the device's runtime meanwhile (:func:`tensorlift.staging`): the DataLoader's
    ``pin_memory=True`` would copy them once more. An exception of the loader reaches the consumer
    in its place among the batches, with its traceback. A loader without workers makes its batches
    in the thread: what its dataset draws of the global random numbers is drawn ahead, beside what
    the consumer draws.

    With `into` a batch is there until the next one is asked for: then its tensors are overwritten,
    by a copy within the device on the stream that is current at that moment, after all that it was
    given. It must wait for another stream that reads the batch. Batches that are sent ahead lie in
    `depth` more sets of such tensors, which an iteration makes at its beginning: there is no other
    allocation for them.

    An iteration ends early by `break`, an exception, Ctrl-C, when the iterator is deleted, or by
    `close()`, which a ``with`` calls at its end. That does not wait for a batch that the loader is
    still making; the next iteration does.

    Raises:
        ValueError: torch cannot use the device, or `depth` or `threads` is less than 1; a tensor of
            `into` is elsewhere or cannot be written to. In an iteration, where a batch does not fit
            `into`: the place is named, and nothing was written.
        TypeError: `depth` or `threads` is no int, `into` is no tree, or there are `arguments` for
            what is no DataLoader.

    Example:
        >>> import numpy as np, tensorlift
        >>> batches = [{"x": np.full(2, i)} for i in range(2)]
        >>> for batch in tensorlift.DevicePrefetcher(batches, "cpu"):
        ...     print(batch["x"])
        tensor([0, 0])
        tensor([1, 1])
    """

    loader: Iterable[T]
    device: torch.device
    depth: int
    into: Any
    threads: int | None

    def __init__(
        self,
        loader: Iterable[T],
        device: Device,
        *,
        depth: int = 2,
        into: Any = None,
        threads: int | None = None,
        **arguments: Any,
    ) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int):
            raise TypeError(f"depth: expected an int, got {depth!r}.")
        if depth < 1:
            raise ValueError(f"depth: expected at least 1, got {depth}.")
        _C.check_threads(threads)
        is_packed = _C.can_send_to(device)  # also says so where it is none
        own = vars(self)  # __setattr__ is the loader's
        own["loader"] = with_arguments(loader, arguments) if arguments else loader
        own["depth"] = depth
        own["threads"] = threads
        own["device"] = torch.empty(0, device=device).device if is_packed else _plain(device)
        own["into"] = into
        check_buffers(into, self.device, "into")
        own["_is_packed"] = is_packed
        own["_runs"] = weakref.WeakSet[Run]()
        own["_loader_lock"] = threading.Lock()
        own["_state"] = None  # of the loader, after the last batch that was delivered
        own["_closed"] = 0  # how often
        if isinstance(loader, DataLoader):  # which Lightning takes from vars() to make it anew
            own["dataset"] = loader.dataset

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """Of the loader: libraries ask whether it is a DataLoader, and leave alone what is none."""
        return self.loader.__class__

    def __getattr__(self, name: str) -> Any:
        """Of the loader, but not what a library has noted about how that was made."""
        if name == "loader" or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = getattr(self.loader, name)
        states = {"state_dict": self._state_dict, "load_state_dict": self._load_state_dict}
        return states.get(name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        """To the loader, if it is not this object's own."""
        if name in vars(self) or name.startswith("__"):
            vars(self)[name] = value
        else:
            setattr(self.loader, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """By its arguments: the default compares the type with __class__."""
        make = partial(type(self), depth=self.depth, into=self.into, threads=self.threads)
        return make, (self.loader, self.device)

    def __len__(self) -> int:
        """Of the loader, if that has one."""
        return len(self.loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[T]:
        """The batches, once through the loader, which is not touched before the first one."""
        if self._is_packed:
            return self._prefetch()
        return self._convert()

    def __enter__(self) -> DevicePrefetcher[T]:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Calls close()."""
        self.close()

    def close(self) -> None:
        """Ends all iterations that are under way, and frees the batches that were sent ahead.

        The loader stays as it is, and can be iterated again.
        """
        vars(self)["_closed"] += 1
        for run in list(self._runs):
            run.stop()

    def _convert(self) -> Iterator[T]:
        closed = self._closed
        for batch in self.loader:
            if self.into is None:
                yield send_plainly(batch, self.device)
            else:
                yield copied_into(send_plainly(batch, _CPU), self.into, "into")
            if self._closed != closed:
                return

    def _prefetch(self) -> Iterator[T]:
        # A new thread has its own idea of how many threads torch uses.
        threads = self.threads or _C.staging()[2] or _C.default_threads()
        with self._loader_lock:
            # As without us in this thread, which can be the main one, which torch needs to notice
            # that a worker has died, and has the accelerator's current device.
            batches = iter(self.loader)
        state_of = getattr(self.loader, "state_dict", None)
        run = Run(batches, self.device, self.depth, threads, self._loader_lock, state_of, self.into)
        del batches
        self._runs.add(run)  # before anybody can notice that it runs, and call close()
        try:
            run.start()
            for batch in run:
                vars(self)["_state"] = run.state
                yield batch
                del batch
            vars(self)["_state"] = run.state
        finally:
            run.stop()

    def _state_dict(self) -> Any:
        """The loader's after the last batch that was delivered: it is ahead of that itself."""
        if self._state is not None:
            return self._state
        with self._loader_lock:
            return cast(Any, self.loader).state_dict()

    def _load_state_dict(self, state: Any) -> None:
        vars(self)["_state"] = None
        cast(Any, self.loader).load_state_dict(state)


def _plain(device: Device) -> torch.device:
    parsed = torch.device(device)
    return parsed if parsed.type == "cpu" else torch.empty(0, device=parsed).device
