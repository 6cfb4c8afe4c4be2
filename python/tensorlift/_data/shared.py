"""Batches on their way out of a data loader's worker: in shared memory that is used again.

Torch makes a new file in shared memory for every storage that a worker sends, hands its descriptor
over through a socket of its own, and lets the kernel clear and map every page. Here the tensors of
a batch lie in segments, large ones alone and small ones together; the receiver finds a segment by
the number of the sender's descriptor; and when the last of its tensors dies there, the worker fills
the same segment again. csrc/shm/segment.h has the rules by which they agree.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import cache
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd, ForkingPickler
from multiprocessing.util import Finalize
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import multiprocessing
from torch.multiprocessing.reductions import reduce_storage, reduce_tensor
from torch.utils.data import get_worker_info

from .. import _C
from .._torch_internals import extra_reducers

Memory: TypeAlias = Literal["own", "torch", "segment"]
Reducer: TypeAlias = Callable[[Any], Any]


def memory_for_batches() -> Memory:
    """Where this process puts a batch: in a worker, where the consumer can read it in place."""
    if get_worker_info() is None:
        return "own"
    if not _C.has_segments() or _strategy() != "file_descriptor":
        return "torch"
    _reducers_before()
    _give_back_at_the_end()
    return "segment"


@cache
def _give_back_at_the_end() -> None:
    """Consumers have the memory mapped, and would keep it until they receive the next batch."""
    Finalize(None, _C.close_segment_pool, exitpriority=0)


def _strategy() -> object:
    return multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]


class _Reducers(NamedTuple):
    tensor: Reducer
    storage: Reducer


_before: _Reducers | None = None
_lock = threading.Lock()


def _reducers_before() -> _Reducers:
    """Lets what lies in segments be sent to other processes.

    Returns:
        What sends everything else, as before: torch's functions, unless somebody replaced those.
    """
    global _before
    if _before is None:
        with _lock:  # or a second thread would find ours registered
            _before = _before or _register()
    return _before


def _register() -> _Reducers:
    registered = extra_reducers()
    before = _Reducers(
        registered.get(torch.Tensor, reduce_tensor),
        registered.get(torch.UntypedStorage, reduce_storage),
    )
    ForkingPickler.register(torch.Tensor, _reduce_tensor)
    ForkingPickler.register(torch.UntypedStorage, _reduce_storage)
    ForkingPickler.register(_C.SegmentHold, _reduce_segment)
    return before


def _reduce_tensor(tensor: torch.Tensor) -> Any:
    place = _C.place_in_segment(tensor)
    return _reducers_before().tensor(tensor) if place is None else (_tensor, place)


def _reduce_segment(segment: _C.SegmentHold) -> Any:
    """Once a message: it is one object for all tensors over it."""
    offer, descriptor = _C.offer_segment(segment, _is_looked_up())
    return _received, (offer, None if descriptor is None else _handed_over(descriptor))


def _reduce_storage(storage: torch.UntypedStorage) -> Any:
    """Of tensors that torch's own functions take apart: leaves, sparse ones, subclasses."""
    if storage.device.type != "cpu" or _C.place_in_segment(_bytes_of(storage)) is None:
        return _reducers_before().storage(storage)
    return _storage, (_bytes_of(storage),)


def _bytes_of(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8, device="cpu").set_(storage)


def _handed_over(descriptor: int) -> Any:
    """What sends a descriptor of ours, which is then closed."""
    process = get_spawning_popen()
    sent = DupFd(descriptor)
    if process is None:  # that was a duplicate
        os.close(descriptor)
    else:  # the process that is about to be started inherits this one
        weakref.finalize(process, os.close, descriptor)
    return sent


@cache
def _is_looked_up() -> bool:
    return _C.can_look_up_descriptors() and _rights("self") == _rights(os.getppid())


def _rights(process: int | str) -> list[bytes]:
    """Those that decide who may look at whose files: a parent may have given up some of its own."""
    with open(f"/proc/{process}/status", "rb") as status:
        return [line for line in status if line.startswith((b"Uid", b"Gid", b"CapPrm", b"CapEff"))]


def _received(offer: Any, descriptor: Any) -> _C.SegmentHold:
    _reducers_before()  # what is received may be sent on
    if descriptor is None:
        return _C.accept_offer(offer, None)
    try:
        number = descriptor.detach()
    except EOFError:  # it was handed over before
        raise RuntimeError(
            "shared memory: expected a batch that was not received before, got one that was. What "
            "a worker sends can be unpickled once."
        ) from None
    try:
        return _C.accept_offer(offer, number)
    finally:
        os.close(number)


def _tensor(*place: Any) -> torch.Tensor:
    return _C.tensor_in_segment(place)


def _storage(content: torch.Tensor) -> torch.UntypedStorage:
    return content.untyped_storage()


def _forget_parent() -> None:
    global _lock
    _lock = threading.Lock()
    _give_back_at_the_end.cache_clear()
    _is_looked_up.cache_clear()


os.register_at_fork(after_in_child=_forget_parent)
