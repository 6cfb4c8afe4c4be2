"""Trees of arrays to trees of tensors, on the host or a device: all leaves in one native call."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from . import _C
from ._convert import from_numpy
from ._tree import map_leaves
from ._typing import Device, Readonly

_TEXT_AND_OBJECTS = "SUOT"  # kinds of dtypes that default_convert leaves alone


def convert(
    tree: Any,
    /,
    *,
    dtype: torch.dtype | None = None,
    device: Device | None = None,
    copy: bool | None = None,
    readonly: Readonly = "warn",
    pin_memory: bool = False,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    threads: int | None = None,
) -> Any:
    """The same tree with tensors in the place of its arrays.

    Mappings, named tuples, sequences and dataclasses keep their structure, as in
    :func:`torch.utils.data.default_convert` (where a plain tuple becomes a list); tensors, numbers,
    text and everything else stay as they are, and so do arrays of text or objects. All arrays are
    converted by one call of :func:`from_numpy`, whose options these are: shared where they can be.

    Args:
        tree: any object.
        dtype: as for :func:`from_numpy`; for all arrays.
        device: as for :func:`from_numpy`. Tensors of the tree are not moved.
        copy: as for :func:`from_numpy`.
        readonly: as for :func:`from_numpy`.
        pin_memory: as for :func:`from_numpy`.
        non_blocking: as for :func:`from_numpy`.
        stream: as for :func:`from_numpy`.
        threads: as for :func:`from_numpy`.

    Returns:
        A new tree. A dataclass is copied and gets its fields set.

    Raises:
        TypeError: as for :func:`from_numpy`; arrays are counted in the order of the tree.
        ValueError: as for :func:`from_numpy`.
        RuntimeError: as for :func:`from_numpy`.

    Example:
        >>> import numpy as np, tensorlift
        >>> tensorlift.convert({"x": np.array([1, 2]), "name": "a"})
        {'x': tensor([1, 2]), 'name': 'a'}
    """
    leaves, structure = _take_out(tree, _is_convertible)
    tensors = from_numpy(
        leaves,
        dtype=dtype,
        device=device,
        copy=copy,
        readonly=readonly,
        pin_memory=pin_memory,
        non_blocking=non_blocking,
        stream=stream,
        threads=threads,
    )
    return _put_in(structure, tensors)


# Tensors from so many bytes on are sent from where they are, if they are pinned.
_LARGE = 1 << 20


def send(tree: Any, device: torch.device, stream: torch.Stream, threads: int | None) -> Any:
    """The tree with all of its arrays and tensors of the host on the device, ready on `stream`."""
    leaves, structure = _take_out(tree, _is_packable)
    if leaves:
        structure = _put_in(structure, _C.send_tensors(leaves, device, stream, threads))

    def move(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or leaf.device.type != "cpu":
            return leaf
        with stream:
            return leaf.to(device, non_blocking=True)

    return map_leaves(move, structure)


class _Taken:
    """Stands for a leaf."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


def _take_out(tree: Any, is_wanted: Any) -> tuple[list[Any], Any]:
    leaves: list[Any] = []

    def take(leaf: Any) -> Any:
        if not is_wanted(leaf):
            return leaf
        leaves.append(leaf)
        return _Taken(len(leaves) - 1)

    return leaves, map_leaves(take, tree)


def _put_in(structure: Any, tensors: list[torch.Tensor]) -> Any:
    return map_leaves(lambda leaf: tensors[leaf.index] if type(leaf) is _Taken else leaf, structure)


def _is_convertible(leaf: Any) -> bool:
    if isinstance(leaf, np.ndarray):
        return leaf.dtype.kind not in _TEXT_AND_OBJECTS
    return isinstance(leaf, (np.number, np.bool_))


def _is_packable(leaf: Any) -> bool:
    """Whether the native call takes it; Tensor.to() has to take all other tensors."""
    if type(leaf) is not torch.Tensor:
        return _is_convertible(leaf)
    if leaf.device.type != "cpu" or leaf.layout != torch.strided or leaf.requires_grad:
        return False
    if leaf.is_nested or leaf.is_quantized:
        return False
    return leaf.nbytes < _LARGE or not leaf.is_pinned()
