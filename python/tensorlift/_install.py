"""Into torch's own loaders: default_collate's functions are replaced by ours, and back."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from torch.utils.data._utils import collate as torch_collate

from ._collate_leaves import CollateFn, collate_fn_map


class Installed:
    """What :func:`install` returns: a context manager that undoes it at its end."""

    def __enter__(self) -> Installed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        uninstall()


_replaced: dict[Any, CollateFn] = {}


def install(worker_id: int = 0, /) -> Installed:
    """Lets every :class:`torch.utils.data.DataLoader` of this process collate through tensorlift.

    Puts the functions of :data:`collate_fn_map` into torch's ``default_collate_fn_map``, which
    :func:`torch.utils.data.default_collate` uses; loaders with a `collate_fn` of their own are not
    affected. Workers that are forked inherit it; those that are spawned need the call as well:
    ``DataLoader(…, worker_init_fn=tensorlift.install)``. A second call changes nothing.

    Args:
        worker_id: not used; what a `worker_init_fn` is called with.

    Returns:
        A context manager: ``with tensorlift.install(): …`` ends with :func:`uninstall`.

    Example:
        >>> import numpy as np, tensorlift, torch
        >>> with tensorlift.install():
        ...     torch.utils.data.default_collate([np.zeros(2), np.ones(2)]).shape
        torch.Size([2, 2])
    """
    defaults = torch_collate.default_collate_fn_map
    for kind, function in collate_fn_map.items():
        if defaults.get(kind) is not function:
            _replaced[kind] = defaults[kind]
            defaults[kind] = function
    return Installed()


def uninstall() -> None:
    """Undoes :func:`install`; does nothing where that was not called.

    Example:
        >>> import tensorlift
        >>> tensorlift.uninstall()
    """
    defaults = torch_collate.default_collate_fn_map
    for kind, function in _replaced.items():
        if defaults.get(kind) is collate_fn_map[kind]:
            defaults[kind] = function
    _replaced.clear()
