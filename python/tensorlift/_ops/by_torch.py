"""stack and cat of what torch alone can join, composed of torch's own functions.

Subclasses of tensors that override torch's functions; tensors of other layouts, on devices, of
dtypes that are no numbers; tensors inside modes and transformations.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from .. import _C
from .._errors import BatchTypeError, BatchValueError


def join(
    operation: str,
    items: list[Any],
    refusal: str,
    dim: int,
    dtype: torch.dtype | None,
    channel_dim: int | None,
    memory_format: torch.memory_format | None,
    out: torch.Tensor | None,
    pin_memory: bool,
    device: Any,
    non_blocking: bool,
    stream: torch.Stream | None,
) -> torch.Tensor:
    """Called by the native functions, with their options.

    `refusal` is why they do not join these items, which is said where torch does not either; "":
    they would, but torch wants to be asked.
    """
    tensors = [item if isinstance(item, torch.Tensor) else _as_tensor(item) for item in items]
    if channel_dim is not None:
        tensors = [t if t.shape == (0,) else t.movedim(channel_dim, 0) for t in tensors]
    for index, tensor in enumerate(tensors):
        if is_cut_off(tensor):
            raise BatchTypeError(
                f"arrays[{index}]: expected a tensor with memory of its own, got "
                f"{type(tensor).__name__} without (its storage was freed)."
            )
    function = getattr(torch, operation)
    try:
        if out is not None and dtype is None:
            return function(tensors, dim, out=out)  # type: ignore[no-any-return]
        batch = function(tensors, dim)
    except (RuntimeError, TypeError, ValueError) as error:
        if not refusal:
            raise
        raise _error_for(tensors)(refusal) from error
    if dtype is not None:
        batch = batch.to(dtype)
    if out is not None:
        return out.copy_(batch)
    if memory_format is not None:
        batch = batch.contiguous(memory_format=memory_format)
    if device is not None:
        with contextlib.nullcontext() if stream is None else stream:
            batch = batch.to(device, non_blocking=non_blocking)
    return batch.pin_memory() if pin_memory else batch  # type: ignore[no-any-return]


def _as_tensor(item: Any) -> torch.Tensor:
    (tensor,) = _C.from_numpy([item], None, None, None, "share", False, True, None, True, None)
    return tensor


def _error_for(tensors: list[torch.Tensor]) -> type[BatchTypeError] | type[BatchValueError]:
    """Another device is a matter of values, another kind of tensor one of types."""
    is_elsewhere = any(tensor.device.type != "cpu" for tensor in tensors)
    return BatchValueError if is_elsewhere else BatchTypeError


def is_cut_off(value: Any) -> bool:
    """Whether a tensor's storage was made smaller than the tensor."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_nested:
        return False
    if value.numel() == 0:
        return False
    steps = zip(value.shape, value.stride(), strict=True)
    last = value.storage_offset() + sum((size - 1) * stride for size, stride in steps)
    try:
        nbytes = value.untyped_storage().nbytes()
    except RuntimeError:  # inside a transformation it has none
        return False
    return (last + 1) * value.itemsize > nbytes
