"""Into torch's own loaders: what default_collate calls is replaced by ours, and back."""

from __future__ import annotations

import os
import threading
from types import TracebackType

from .._torch_internals import torch_collate
from .collate import collate_for_torch

_TORCHS = torch_collate.collate  # the imported module is always torch's own: see uninstall()
_calls = 0  # of install() that are in force; changed under the lock
_lock = threading.Lock()


class Installed:
    """What :func:`install` returns: a context manager that undoes that call at its end."""

    def __init__(self) -> None:
        self._is_in_force = True

    def __enter__(self) -> Installed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_in_force:
            self._is_in_force = False
            _change_calls(-1)


def _change_calls(by: int | None) -> None:
    """None: there are none any more."""
    global _calls
    with _lock:
        _calls = 0 if by is None else max(_calls + by, 0)
        if _calls > 0:
            torch_collate.collate = collate_for_torch
        elif torch_collate.collate is collate_for_torch:
            torch_collate.collate = _TORCHS


def install(worker_id: int = 0, /) -> Installed:
    """Lets every :class:`torch.utils.data.DataLoader` of this process collate through tensorlift.

    :func:`torch.utils.data.default_collate` becomes :func:`tensorlift.collate`, also where it was
    imported before; loaders with a `collate_fn` of their own are not affected. The functions in
    torch's ``default_collate_fn_map`` are used as before. Workers that are forked inherit it; those
    that are spawned need the call as well:
    ``DataLoader(…, worker_init_fn=tensorlift.install)``.

    Args:
        worker_id: not used; what a `worker_init_fn` is called with.

    Returns:
        A context manager. At the end of ``with tensorlift.install(): …`` this call is undone;
        other calls stay in force.

    Example:
        >>> import numpy as np, tensorlift, torch
        >>> with tensorlift.install():
        ...     torch.utils.data.default_collate([np.zeros(2), np.ones(2)]).shape
        torch.Size([2, 2])
    """
    _change_calls(+1)
    return Installed()


def uninstall() -> None:
    """Undoes all calls of :func:`install`; does nothing where there were none.

    Example:
        >>> import tensorlift
        >>> tensorlift.uninstall()
    """
    _change_calls(None)


def _renew_lock() -> None:
    """In a forked child: a thread of the parent may have it for ever."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
