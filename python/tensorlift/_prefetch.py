"""Batches that are on the device before they are asked for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Generic, TypeVar

import torch

from . import _C
from ._tree import map_leaves
from ._tree_convert import convert, is_tensor_like, send, send_plainly
from ._typing import Device

T = TypeVar("T")

# How long the end of an iteration waits for the thread: that may be inside the loader, which nobody
# can interrupt. It ends by itself then, and holds nothing but its own batch.
_PATIENCE_S = 5.0

# How often a thread that waits for a place looks whether it is over.
_LOOK_UP_S = 0.05


class DevicePrefetcher(Generic[T]):
    """Iterates a loader, and sends its next batches while the last one is being worked on.

    A thread takes batches from the loader, packs the arrays and tensors of each, whatever their
    tree, and sends them on a stream of its own; the consumer gets them in order, with its current
    stream waiting for the copies, not the host. With a CPU it only converts, without a thread, so
    that code needs no branches.

    Args:
        loader: what gives batches: a DataLoader, a generator, a list. It is iterated anew by every
            `iter()` of this object, in a thread.
        device: where the batches are to be.
        depth: how many batches are sent ahead, at least 1. Each is device memory.
        threads: how many threads pack a batch; None for as many as torch uses in the thread that
            made this object, or as :func:`tensorlift.staging` says.

    Arrays, NumPy numbers, CPU tensors and TensorDicts of a batch arrive on the device; everything
    else is passed on as it is. For a CPU arrays are shared if possible, read-only ones copied.
    Tensors that are pinned already and large are sent from where they are. An exception of the
    loader reaches the consumer in its place among the batches, with its traceback. Leaving early
    ends the thread: by `break`, an exception, Ctrl-C, or letting go of the iterator.

    Raises:
        ValueError: torch cannot use the device, or `depth` is less than 1.

    Example:
        >>> import numpy as np, tensorlift
        >>> batches = [{"x": np.full(2, i)} for i in range(2)]
        >>> for batch in tensorlift.DevicePrefetcher(batches, "cpu"):
        ...     print(batch["x"])
        tensor([0, 0])
        tensor([1, 1])
    """

    def __init__(
        self, loader: Iterable[T], device: Device, *, depth: int = 2, threads: int | None = None
    ) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int):
            raise TypeError(f"depth: expected an int, got {depth!r}.")
        if depth < 1:
            raise ValueError(f"depth: expected at least 1, got {depth}.")
        self.loader = loader
        self.depth = depth
        self.threads = threads
        self._is_packed = _C.can_send_to(device)  # also says so where it is none
        self.device: torch.device = (
            torch.empty(0, device=device).device if self._is_packed else _plain(device)
        )

    def __len__(self) -> int:
        """Of the loader, if that has one."""
        if not isinstance(self.loader, Sized):
            raise TypeError(f"object of type {type(self.loader).__name__!r} has no len()")
        return len(self.loader)

    def __iter__(self) -> Iterator[T]:
        """The batches, once through the loader."""
        if self.device.type == "cpu":
            return (convert(batch, readonly="copy") for batch in self.loader)
        if not self._is_packed:
            return (send_plainly(batch, self.device) for batch in self.loader)
        return self._prefetch()

    def _prefetch(self) -> Iterator[T]:
        # A new thread has its own idea of how many threads torch uses.
        threads = self.threads or _C.staging()[2] or _C.default_threads()
        batches: queue.Queue[_Sent] = queue.Queue(maxsize=self.depth)
        stop = threading.Event()
        thread = threading.Thread(
            target=_send_all,
            args=(self.loader, self.device, threads, batches, stop),
            name="tensorlift.DevicePrefetcher",
            daemon=True,
        )
        thread.start()
        try:
            while True:
                sent = batches.get()
                if sent.event is None:
                    if sent.error is not None:
                        raise sent.error
                    return
                batch = _make_ready(sent.batch, sent.event, self.device)
                del sent
                yield batch
                del batch
        finally:
            stop.set()
            _empty(batches)  # wakes the thread, if it waits for a place
            thread.join(_PATIENCE_S)


class _Sent:
    """A batch and the event behind its copies; or the end, with the exception that made it."""

    __slots__ = ("batch", "error", "event")

    def __init__(
        self,
        batch: Any = None,
        event: torch.Event | None = None,
        error: BaseException | None = None,
    ) -> None:
        self.batch = batch
        self.event = event
        self.error = error


def _send_all(
    loader: Iterable[Any],
    device: torch.device,
    threads: int | None,
    batches: queue.Queue[_Sent],
    stop: threading.Event,
) -> None:
    """The thread. Holds no reference to the iterator, so that this one can be let go of."""
    end = _Sent()
    try:
        stream = torch.Stream(device)
        for batch in loader:
            moved = send(batch, device, stream, threads)
            sent = _Sent(moved, stream.record_event())
            del batch, moved
            if not _put(batches, sent, stop):
                return
            del sent
    except BaseException as error:
        end.error = error
    _put(batches, end, stop)


def _put(batches: queue.Queue[_Sent], sent: _Sent, stop: threading.Event) -> bool:
    """False if nobody wants it any more."""
    while not stop.is_set():
        try:
            batches.put(sent, timeout=_LOOK_UP_S)
            return True
        except queue.Full:
            pass
    return False


def _make_ready(batch: Any, event: torch.Event, device: torch.device) -> Any:
    """Orders the consumer's stream behind the copies; keeps the memory until it is done with it."""
    current = torch.accelerator.current_stream(device)
    current.wait_event(event)
    seen: set[int] = set()

    def make_ready(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu":
            return leaf.to(device)  # of a layout that cannot be recorded on a stream
        if not is_tensor_like(leaf) or leaf.device != device:
            return leaf
        if type(leaf) is torch.Tensor:
            address = leaf.untyped_storage().data_ptr()
            if address in seen:
                return leaf
            seen.add(address)
        leaf.record_stream(current)
        return leaf

    return map_leaves(make_ready, batch)


def _empty(batches: queue.Queue[_Sent]) -> None:
    try:
        while True:
            batches.get_nowait()
    except queue.Empty:
        pass


def _plain(device: Device) -> torch.device:
    parsed = torch.device(device)
    return parsed if parsed.type == "cpu" else torch.empty(0, device=parsed).device
