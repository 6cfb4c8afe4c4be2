"""The thread of a DevicePrefetcher's iteration, and how it hands over what it has sent."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from .into import Slot, copied_into
from .registered import OWN_COPY_BYTES, RegisteredSegments
from .send import is_tensor_like, send
from .tree import map_leaves

# How long the end of the process waits for threads that are inside of a loader, which nobody can
# interrupt. Until Python 3.13 torch ends the process where a thread frees a tensor after that.
_PATIENCE_AT_EXIT_S = 5.0


class Sent:
    """A batch, the event behind its copies, and the loader's state after it."""

    __slots__ = ("batch", "event", "slot", "state")

    def __init__(self, batch: Any, event: torch.Event, state: Any, slot: Slot | None) -> None:
        self.batch = batch
        self.event = event
        self.state = state
        self.slot = slot  # whose memory it is in; None: in memory of its own


class _End:
    """The end of the loader, or the exception that it has raised."""

    __slots__ = ("error", "state")

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.state: Any = None


class Run:
    """An iteration: a thread that sends batches ahead, and those that wait for the consumer.

    Iterating it gives the batches, ready on the current stream.
    """

    def __init__(
        self,
        batches: Iterator[Any],
        device: torch.device,
        depth: int,
        threads: int,
        loader_lock: threading.Lock,
        state_of: Callable[[], Any] | None,
        into: Any,
    ) -> None:
        self.state: Any = None  # of the loader, after the last batch that was delivered
        self._device = device
        self._depth = depth
        self._loader_lock = loader_lock
        self._state_of = state_of
        self._changed = threading.Condition()
        self._sent: deque[Sent | _End] = deque()
        self._into = into
        self._free: deque[Slot | None] = deque([None] * depth)  # None: not made yet
        self._is_over = False
        self._registered: RegisteredSegments | None = None
        self.thread = threading.Thread(
            target=self._send_all,
            args=([batches], threads, torch.accelerator.current_device_index()),
            name="tensorlift.DevicePrefetcher",
            daemon=True,
        )

    def start(self) -> None:
        _running.add(self)
        self.thread.start()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: self._sent or self._is_over)
            if self._is_over:
                raise StopIteration
            sent = self._sent.popleft()
            self._changed.notify_all()
        if isinstance(sent, Sent):
            self.state = sent.state
            batch = _make_ready(sent.batch, sent.event, self._device)
            return batch if sent.slot is None else self._moved(batch, sent.slot)
        self._is_over = True
        if sent.error is None:
            self.state = sent.state
            raise StopIteration
        try:
            raise sent.error
        finally:
            del sent  # the error's traceback has this frame

    def _moved(self, batch: Any, slot: Slot) -> Any:
        """The batch in the caller's tensors, after what the current stream was given."""
        batch = copied_into(batch, self._into, "into")
        slot.is_free = torch.accelerator.current_stream(self._device).record_event()
        with self._changed:
            self._free.append(slot)
            self._changed.notify_all()
        return batch

    def stop(self) -> None:
        """Ends the iteration. The thread ends as soon as the loader gives it the next batch."""
        with self._changed:
            self._is_over = True
            unused, self._sent = self._sent, deque()
            slots, self._free = self._free, deque()
            self._changed.notify_all()
        slots.clear()
        unused.clear()  # not under the lock: memory is freed

    def _put(self, sent: Sent | _End) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._sent) < self._depth or self._is_over)
            if not self._is_over:
                self._sent.append(sent)
                self._changed.notify_all()

    def _send_all(self, iterator: list[Iterator[Any]], threads: int, current_device: int) -> None:
        """The thread."""
        end = _End()
        try:
            torch.accelerator.set_device_index(current_device)  # a new thread has the first one
            stream = torch.Stream(self._device)
            self._registered = RegisteredSegments.on(self._device)
            while not self._is_over:
                batch, state = self._next(iterator[0])
                if batch is _NONE:
                    end.state = state
                    break
                slot = self._free_slot(stream)
                if self._is_over:
                    break
                sent = self._send(batch, stream, threads, state, slot)
                del batch, slot
                self._put(sent)
                del sent
        except BaseException as error:
            end.error = error
        try:
            if self._registered is not None:
                self._registered.close()
        except BaseException as error:
            end.error = end.error or error
        with self._loader_lock:
            iterator.clear()  # a DataLoader's workers end here, not where the last reference goes
        self._put(end)
        del end  # an error's traceback has this frame

    def _send(
        self, batch: Any, stream: torch.Stream, threads: int, state: Any, slot: Slot | None
    ) -> Sent:
        move = partial(send, device=self._device) if slot is None else slot.send
        if self._registered is None:
            moved = move(batch, stream=stream, threads=threads)
            return Sent(moved, stream.record_event(), state, slot)
        self._registered.register(batch)
        try:
            moved = move(batch, stream=stream, threads=threads, own_copy_bytes=OWN_COPY_BYTES)
        finally:  # also when some copies were enqueued, and one was not
            event = stream.record_event()
            self._registered.keep(batch, event)
        return Sent(moved, event, state, slot)

    def _free_slot(self, stream: torch.Stream) -> Slot | None:
        """Waits for one; None where none is needed, or the iteration is over."""
        if self._into is None:
            return None
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._is_over)
            slot = None if self._is_over else self._free.popleft()
            is_over = self._is_over
        return Slot(self._into, self._device, stream) if slot is None and not is_over else slot

    def _next(self, batches: Iterator[Any]) -> tuple[Any, Any]:
        """The loader's next batch, or _NONE, and its state after that."""
        with self._loader_lock:
            batch = next(batches, _NONE)
            return batch, None if self._state_of is None else self._state_of()


_NONE = object()


def _make_ready(batch: Any, event: torch.Event, device: torch.device) -> Any:
    """Orders the caller's stream behind the copies; keeps the memory until it is done with it."""
    current = torch.accelerator.current_stream(device)
    current.wait_event(event)

    def make_ready(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu":
            return leaf.to(device)  # of a layout that cannot be recorded on a stream
        if is_tensor_like(leaf) and leaf.device == device:
            leaf.record_stream(current)
        return leaf

    return map_leaves(make_ready, batch, keep=True)


_running: weakref.WeakSet[Run] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    runs = [run for run in list(_running) if run.thread.is_alive()]  # in a forked child: none
    for run in runs:
        run.stop()
    deadline = time.monotonic() + _PATIENCE_AT_EXIT_S
    for run in runs:
        run.thread.join(max(0.0, deadline - time.monotonic()))
