"""Batches on their way out of a data loader's worker: in shared memory that is used again.

Torch makes a new file in shared memory for every storage that a worker sends, hands its descriptor
over through a socket of its own, and lets the kernel clear and map every page. Here the tensors of
a batch lie in one segment; the receiver finds it by the number of the sender's descriptor; and when
the last of its tensors dies there, the worker fills the same segment again. csrc/shm/segment.h has
the rules by which they agree.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from functools import cache
from multiprocessing.reduction import DupFd, ForkingPickler
from typing import Any, Literal, TypeAlias

import torch
from torch import multiprocessing
from torch.multiprocessing.reductions import reduce_tensor
from torch.utils.data import get_worker_info

from . import _C

Memory: TypeAlias = Literal["own", "torch", "segment"]


def memory_for_batches() -> Memory:
    """Where this process puts a batch: in a worker, where the consumer can read it in place."""
    if get_worker_info() is None:
        return "own"
    if not _C.has_segments() or _strategy() != "file_descriptor":
        return "torch"
    _register()
    return "segment"


def _strategy() -> object:
    return multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]


@cache
def _register() -> Callable[[torch.Tensor], Any]:
    """Lets tensors over segments be sent to other processes.

    Returns:
        What sends all other tensors, as before: torch's function, unless somebody replaced that.
    """
    reducers: dict[type, Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    before: Callable[[torch.Tensor], Any] = reducers.get(torch.Tensor, reduce_tensor)
    ForkingPickler.register(torch.Tensor, _reduce_tensor)
    return before


class _Sent:
    """A segment in a message: one for all of the message's tensors."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor.detach()  # nobody else's, who may give it another storage

    def __reduce__(self) -> Any:
        offer = _C.offer_segment(self.tensor)
        if offer is None:  # too many are open
            memory = torch.empty(0, dtype=torch.uint8).set_(self.tensor.untyped_storage())
            return _register()(memory)
        return _received, (offer, None if _is_looked_up() else DupFd(offer[1]))


# By the storage's number, while a message that has it is pickled. Not by the segment's: torch may
# move the storage out of it meanwhile, and another batch lie there.
_in_messages: weakref.WeakValueDictionary[int, _Sent] = weakref.WeakValueDictionary()


def _reduce_tensor(tensor: torch.Tensor) -> Any:
    place = _C.place_in_segment(tensor)
    if place is None:
        return _register()(tensor)
    storage, *rest = place
    sent = _in_messages.get(storage)
    if sent is None:
        sent = _in_messages[storage] = _Sent(tensor)
    return _view, (sent, *rest)


@cache
def _is_looked_up() -> bool:
    return _C.can_look_up_descriptors() and _rights("self") == _rights(os.getppid())


def _rights(process: int | str) -> list[bytes]:
    """Those that decide who may look at whose files: a parent may have given up some of its own."""
    with open(f"/proc/{process}/status", "rb") as status:
        return [line for line in status if line.startswith((b"Uid", b"Gid", b"CapPrm", b"CapEff"))]


def _received(offer: Any, descriptor: Any) -> torch.Tensor:
    if descriptor is None:
        return _C.accept_offer(offer, None)
    number = descriptor.detach()
    try:
        return _C.accept_offer(offer, number)
    finally:
        os.close(number)


def _view(memory: torch.Tensor, *place: Any) -> torch.Tensor:
    return _C.view_of_segment(memory, *place)
