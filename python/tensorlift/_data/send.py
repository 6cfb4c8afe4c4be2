"""Batches to a device or to pinned memory: all arrays and tensors of the host in one native call.

Tuples stay tuples here, unlike in :func:`convert`: a batch is what its loader made it.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import torch

from .. import _C
from .._ops.convert import from_numpy
from .tree import map_leaves
from .tree_convert import is_convertible, replace_leaves

# Tensors from so many bytes on are sent from where they are, if they are pinned.
LARGE = 1 << 20


def is_tensor_like(leaf: Any) -> bool:
    """Whether it is moved by its own `to`, and kept by its own `record_stream`, as a TensorDict."""
    if isinstance(leaf, torch.Tensor) and (leaf.layout != torch.strided or leaf.is_nested):
        return False
    return hasattr(type(leaf), "__torch_function__") and hasattr(leaf, "record_stream")


def pin(tree: Any) -> Any:
    """The tree with all of its arrays and tensors of the host in pinned memory."""
    tree = replace_leaves(
        tree,
        _is_to_be_pinned,
        _send_leaves,
        keep=True,
    )

    def pin_others(leaf: Any) -> Any:
        is_other = is_tensor_like(leaf) and not is_sent(leaf) and hasattr(leaf, "pin_memory")
        is_elsewhere = isinstance(leaf, torch.Tensor) and leaf.device.type != "cpu"
        return leaf.pin_memory() if is_other and not is_elsewhere else leaf

    return map_leaves(pin_others, tree, keep=True)


def send(
    tree: Any,
    device: torch.device,
    stream: torch.Stream | None,
    threads: int | None,
    *,
    non_blocking: bool = True,
    own_copy_bytes: int = LARGE,
) -> Any:
    """The tree with all of its arrays and tensors of the host on the device, ready on `stream`.

    Pinned tensors from `own_copy_bytes` on are sent from where they are.
    """
    tree = replace_leaves(
        tree,
        partial(is_sent, own_copy_bytes=own_copy_bytes),
        partial(
            _send_leaves, device=device, non_blocking=non_blocking, stream=stream, threads=threads
        ),
        keep=True,
    )

    def move(leaf: Any) -> Any:
        if not is_tensor_like(leaf) or leaf.device == device:
            return leaf
        with contextlib.nullcontext() if stream is None else stream:
            return leaf.to(device, non_blocking=non_blocking)

    return map_leaves(move, tree, keep=True)


def send_plainly(tree: Any, device: torch.device) -> Any:
    """The tree on a device that has not what a transfer of ours needs; the CPU is one.

    Arrays are shared on the host where they can be; read-only ones are copied.
    """
    tree = replace_leaves(
        tree,
        is_convertible,
        lambda leaves: from_numpy(leaves, readonly="copy"),
        keep=True,
    )
    if device.type == "cpu":
        return tree
    return map_leaves(
        lambda leaf: leaf.to(device) if is_tensor_like(leaf) else leaf, tree, keep=True
    )


def _send_leaves(
    leaves: list[Any],
    *,
    device: torch.device | None = None,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    threads: int | None = None,
) -> list[torch.Tensor]:
    """The native call, which makes contiguous tensors; but dense ones keep their strides."""
    orders = [_memory_order(leaf) for leaf in leaves]
    in_order = [
        leaf if order is None else leaf.permute(order)
        for leaf, order in zip(leaves, orders, strict=True)
    ]
    sent = _C.send_tensors(in_order, device, non_blocking, stream, threads)
    for tensor, leaf, order in zip(sent, leaves, orders, strict=True):
        if order is not None:  # in place: permute() would make a view
            tensor.as_strided_(leaf.shape, leaf.stride())
    return sent


def _memory_order(leaf: Any) -> list[int] | None:
    """In which a tensor's dimensions would be contiguous; None if they are, or in no order."""
    if not isinstance(leaf, torch.Tensor) or leaf.is_contiguous():
        return None
    order = sorted(range(leaf.dim()), key=leaf.stride, reverse=True)
    return order if leaf.permute(order).is_contiguous() else None


def is_sent(leaf: Any, own_copy_bytes: int = LARGE) -> bool:
    """Whether the native call takes it; Tensor.to() has to take all other tensors."""
    if type(leaf) is not torch.Tensor:
        return is_convertible(leaf)
    if leaf.device.type != "cpu" or leaf.layout != torch.strided or leaf.requires_grad:
        return False
    if leaf.is_nested or leaf.is_quantized:
        return False
    return leaf.nbytes < own_copy_bytes or not leaf.is_pinned()


def _is_to_be_pinned(leaf: Any) -> bool:
    return is_sent(leaf) and not (isinstance(leaf, torch.Tensor) and leaf.is_pinned())
