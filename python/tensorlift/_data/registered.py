"""Batches of workers, sent to a device from where they lie.

A batch of a worker lies in segments of shared memory, which the worker fills again and again. Such
memory is pageable: a copy to a device has to go through a pinned buffer first. But it can be
registered with the device's runtime, page-locked where it is, and is pinned memory from then on.

Torch's allocator of pinned memory does not know it, and does not keep it until copies that read
from it have run. Here a batch is kept until then, so that its worker cannot fill the memory again.
That is why a registration lasts for one iteration of a DevicePrefetcher, whose thread alone has
the workers' batches meanwhile: somebody else would send them with `Tensor.to(non_blocking=True)`,
which returns before a copy out of pinned memory has run, and drop them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, NamedTuple

import torch

from .. import _C
from .._ops import registered_bytes
from .._torch_internals import HostRegistration, host_registration
from .tree import leaves_of

#: Tensors from so many bytes on lie in a segment alone, and are sent by a copy of their own.
#: Smaller ones are packed: a copy of each would take longer.
OWN_COPY_BYTES = _C.alone_from_bytes

# How many batches' copies may be under way before the thread waits for the oldest.
_MOST_IN_FLIGHT = 4


class _Pages(NamedTuple):
    """What is registered: see _C.received_pages()."""

    nbytes: int
    removals: int
    mapping: object


class RegisteredSegments:
    """The segments of one iteration, for the thread that sends its batches."""

    def __init__(self, runtime: HostRegistration) -> None:
        self._runtime = runtime
        self._pages: OrderedDict[int, _Pages] = OrderedDict()  # by address, the last used last
        self._in_flight: deque[tuple[torch.Event, Any]] = deque()
        self._is_refused = False

    @classmethod
    def on(cls, device: torch.device) -> RegisteredSegments | None:
        """None where the device's runtime registers no memory, or nobody wants it to."""
        runtime = host_registration(device)
        return None if runtime is None or registered_bytes.limit() == 0 else cls(runtime)

    def register(self, batch: Any) -> None:
        """Registers the segments of its large tensors, as far as that is possible."""
        for _, leaf in leaves_of(batch):
            if type(leaf) is torch.Tensor and leaf.device.type == "cpu":
                if leaf.nbytes < OWN_COPY_BYTES:
                    continue
                pages = _C.received_pages(leaf)
                if pages is not None:
                    self._add(pages[0], _Pages(*pages[1:]))

    def keep(self, batch: Any, event: torch.Event) -> None:
        """Keeps the batch until the copies have run, behind which the event is recorded."""
        self._in_flight.append((event, batch))
        del batch
        while self._in_flight and self._in_flight[0][0].query():
            self._in_flight.popleft()
        while len(self._in_flight) > _MOST_IN_FLIGHT:
            self._in_flight[0][0].synchronize()
            self._in_flight.popleft()

    def close(self) -> None:
        """Waits for the copies, and takes all registrations back."""
        self._await_all()
        while self._pages:
            self._remove(next(iter(self._pages)))

    def _add(self, address: int, pages: _Pages) -> None:
        known = self._pages.get(address)
        if known is not None:
            # Its worker may have given pages back, and have others there: no copy reads them now,
            # because it could not send the segment before.
            if known.nbytes >= pages.nbytes and known.removals == pages.removals:
                self._pages.move_to_end(address)
                return
            self._await_all()
            self._remove(address)
        if self._is_refused or not self._make_room(pages.nbytes):
            return
        if self._runtime.register(address, pages.nbytes):
            self._pages[address] = pages
        else:
            registered_bytes.remove(pages.nbytes)
            self._is_refused = True  # it would be again, and to ask takes time

    def _make_room(self, nbytes: int) -> bool:
        """Counts the bytes as registered, if there is room for them."""
        while not registered_bytes.add(nbytes):
            if not self._pages:
                return False
            self._await_all()
            self._remove(next(iter(self._pages)))
        return True

    def _remove(self, address: int) -> None:
        pages = self._pages.pop(address)
        self._runtime.unregister(address)
        registered_bytes.remove(pages.nbytes)

    def _await_all(self) -> None:
        while self._in_flight:
            self._in_flight[0][0].synchronize()
            self._in_flight.popleft()
