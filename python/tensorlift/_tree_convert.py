"""Trees of arrays to trees of tensors, on the host or a device: all leaves in one native call."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from . import _C
from ._convert import from_numpy
from ._tree import PLAIN_LEAVES, leaves_of, map_leaves, path_text
from ._typing import Device, Readonly

_NEVER_CONVERTED = PLAIN_LEAVES - {np.ndarray}
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
    :func:`torch.utils.data.default_convert` (where a plain tuple becomes a list); tensors,
    TensorDicts, numbers, text and everything else stay as they are, and so do arrays of text or
    objects, masked arrays and other subclasses of arrays. All arrays are converted by one call of
    :func:`from_numpy`, whose options these are: shared where they can be.

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
        TypeError: as for :func:`from_numpy`, with the place: ``data["x"][0]``.
        ValueError: as for :func:`from_numpy`, with the place.
        RuntimeError: as for :func:`from_numpy`.

    Example:
        >>> import numpy as np, tensorlift
        >>> tensorlift.convert({"x": np.array([1, 2]), "name": "a"})
        {'x': tensor([1, 2]), 'name': 'a'}
    """
    if type(tree) in _NEVER_CONVERTED:
        return tree
    return _replace_leaves(
        tree,
        _is_convertible,
        lambda leaves: from_numpy(
            leaves,
            dtype=dtype,
            device=device,
            copy=copy,
            readonly=readonly,
            pin_memory=pin_memory,
            non_blocking=non_blocking,
            stream=stream,
            threads=threads,
        ),
    )


# Tensors from so many bytes on are sent from where they are, if they are pinned.
_LARGE = 1 << 20


def is_tensor_like(leaf: Any) -> bool:
    """Whether it is moved by its own `to`, and kept by its own `record_stream`, as a TensorDict."""
    if isinstance(leaf, torch.Tensor) and (leaf.layout != torch.strided or leaf.is_nested):
        return False
    return hasattr(type(leaf), "__torch_function__") and hasattr(leaf, "record_stream")


def pin(tree: Any) -> Any:
    """The tree with all of its arrays and tensors of the host in pinned memory, packed."""
    tree = _replace_leaves(
        tree, _is_to_be_pinned, lambda leaves: _send_leaves(leaves, None, None, None)
    )

    def pin_others(leaf: Any) -> Any:
        is_other = is_tensor_like(leaf) and not _is_packable(leaf) and hasattr(leaf, "pin_memory")
        is_elsewhere = isinstance(leaf, torch.Tensor) and leaf.device.type != "cpu"
        return leaf.pin_memory() if is_other and not is_elsewhere else leaf

    return map_leaves(pin_others, tree)


def send(tree: Any, device: torch.device, stream: torch.Stream | None, threads: int | None) -> Any:
    """The tree with all of its arrays and tensors of the host on the device, ready on `stream`."""
    tree = _replace_leaves(
        tree, _is_packable, lambda leaves: _send_leaves(leaves, device, stream, threads)
    )

    def move(leaf: Any) -> Any:
        if not is_tensor_like(leaf) or leaf.device == device:
            return leaf
        with contextlib.nullcontext() if stream is None else stream:
            return leaf.to(device, non_blocking=True)

    return map_leaves(move, tree)


def _send_leaves(
    leaves: list[Any],
    device: torch.device | None,
    stream: torch.Stream | None,
    threads: int | None,
) -> list[torch.Tensor]:
    """The native call, which makes contiguous tensors; but dense ones keep their strides."""
    orders = [_memory_order(leaf) for leaf in leaves]
    in_order = [
        leaf if order is None else leaf.permute(order)
        for leaf, order in zip(leaves, orders, strict=True)
    ]
    sent = _C.send_tensors(in_order, device, stream, threads)
    return [
        tensor if order is None else tensor.permute([order.index(d) for d in range(len(order))])
        for tensor, order in zip(sent, orders, strict=True)
    ]


def _memory_order(leaf: Any) -> list[int] | None:
    """In which a tensor's dimensions would be contiguous; None if they are, or in no order."""
    if not isinstance(leaf, torch.Tensor) or leaf.is_contiguous():
        return None
    order = sorted(range(leaf.dim()), key=leaf.stride, reverse=True)
    return order if leaf.permute(order).is_contiguous() else None


def send_plainly(tree: Any, device: torch.device) -> Any:
    """The tree on a device that has not what a transfer of ours needs."""
    converted = convert(tree, readonly="copy")
    return map_leaves(lambda leaf: leaf.to(device) if is_tensor_like(leaf) else leaf, converted)


class _UncommonContainerError(Exception):
    """There is a container that is no dict, list or tuple."""


def _replace_leaves(
    tree: Any,
    is_wanted: Callable[[Any], bool],
    convert_all: Callable[[list[Any]], list[torch.Tensor]],
) -> Any:
    """The tree with converted leaves. Calls convert_all once, with all that are wanted, if any."""
    try:
        return _replace_leaves_of_all(tree, is_wanted, convert_all)
    except (TypeError, ValueError) as error:
        place = re.match(r"arrays\[(\d+)\]", str(error))
        if place is None:
            raise
        paths = [path for path, leaf in leaves_of(tree) if is_wanted(leaf)]
        path = path_text(None, paths[int(place[1])])
        raise type(error)(path + str(error)[place.end() :]) from error


def _replace_leaves_of_all(
    tree: Any,
    is_wanted: Callable[[Any], bool],
    convert_all: Callable[[list[Any]], list[torch.Tensor]],
) -> Any:
    leaves: list[Any] = []
    places: list[tuple[Any, Any]] = []
    root = [tree]
    try:
        result = _copy_containers(root, is_wanted, leaves, places)
    except _UncommonContainerError:
        return _replace_leaves_of_any(tree, is_wanted, convert_all)
    if leaves:
        for (container, key), tensor in zip(places, convert_all(leaves), strict=True):
            container[key] = tensor
    return result[0]


def _copy_containers(
    tree: Any, is_wanted: Callable[[Any], bool], leaves: list[Any], places: list[tuple[Any, Any]]
) -> Any:
    """A copy of the containers, which are changed later where `places` says so."""
    copy: Any = {} if type(tree) is dict else [None] * len(tree)
    for key, child in tree.items() if type(tree) is dict else enumerate(tree):
        kind = type(child)
        if kind in PLAIN_LEAVES:
            if is_wanted(child):
                leaves.append(child)
                places.append((copy, key))
            copy[key] = child
        elif kind is dict or kind is list or kind is tuple:
            copy[key] = _copy_containers(child, is_wanted, leaves, places)
        else:
            raise _UncommonContainerError
    return copy


def _replace_leaves_of_any(
    tree: Any,
    is_wanted: Callable[[Any], bool],
    convert_all: Callable[[list[Any]], list[torch.Tensor]],
) -> Any:
    """The same in two walks, for containers of any type, each of which is made once."""
    leaves = [leaf for _, leaf in leaves_of(tree) if is_wanted(leaf)]
    if not leaves:
        return map_leaves(lambda leaf: leaf, tree)
    tensors = iter(convert_all(leaves))
    return map_leaves(lambda leaf: next(tensors) if is_wanted(leaf) else leaf, tree)


def _is_convertible(leaf: Any) -> bool:
    """Whether it is an array or a scalar that default_convert makes a tensor of, or ml_dtypes'.

    That leaves subclasses of other packages and masked arrays as they are, and arrays of text or
    objects.
    """
    if isinstance(leaf, np.ndarray):
        of_numpy = type(leaf).__module__ == "numpy"  # torch's rule
        return of_numpy and leaf.dtype.kind not in _TEXT_AND_OBJECTS
    return isinstance(leaf, np.generic) and not isinstance(leaf, (np.flexible, np.object_))


def _is_packable(leaf: Any) -> bool:
    """Whether the native call takes it; Tensor.to() has to take all other tensors."""
    if type(leaf) is not torch.Tensor:
        return _is_convertible(leaf)
    if leaf.device.type != "cpu" or leaf.layout != torch.strided or leaf.requires_grad:
        return False
    if leaf.is_nested or leaf.is_quantized:
        return False
    return leaf.nbytes < _LARGE or not leaf.is_pinned()


def _is_to_be_pinned(leaf: Any) -> bool:
    return _is_packable(leaf) and not (isinstance(leaf, torch.Tensor) and leaf.is_pinned())
