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
from .._typing import PerChannel


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
    normalize: tuple[Any, ...] | None = None,
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
    is_normalized = normalize is not None and normalize[0] is not None
    if normalize is not None and normalize[-1] == "bgr":
        tensors = [_in_opposite_order(index, tensor) for index, tensor in enumerate(tensors)]
    function = getattr(torch, operation)
    on_stream = contextlib.nullcontext() if stream is None else stream
    try:
        if out is not None and dtype is None and not is_normalized:
            with on_stream:
                return function(tensors, dim, out=out)  # type: ignore[no-any-return]
        batch = function(tensors, dim)
    except (RuntimeError, TypeError, ValueError) as error:
        if not refusal:
            raise
        raise _error_for(tensors, error)(refusal) from error
    if normalize is not None and is_normalized:
        channels = 1 if dim % batch.dim() == 0 else 0
        to = out.dtype if dtype is None and out is not None else dtype
        batch = normalized(batch, channels, to, *normalize[:-1])
    elif dtype is not None:
        batch = batch.to(dtype)
    if out is not None:
        with on_stream:
            return out.copy_(batch)
    if memory_format is not None:
        batch = batch.contiguous(memory_format=memory_format)
    if device is not None:
        with on_stream:
            batch = batch.to(device, non_blocking=non_blocking)
    return batch.pin_memory() if pin_memory else batch  # type: ignore[no-any-return]


def _in_opposite_order(index: int, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dim() == 0 or tensor.shape[0] != 3:
        raise BatchValueError(
            f'arrays[{index}]: expected 3 channels for channel_order="bgr", got shape '
            f"{tuple(tensor.shape)}."
        )
    return tensor.flip(0)


def normalized(
    batch: torch.Tensor,
    channels: int,
    dtype: torch.dtype | None,
    scale: float,
    mean: PerChannel | None,
    std: PerChannel | None,
) -> torch.Tensor:
    """(batch * scale - mean) / std, as the native functions have it; `channels` is a dimension."""
    if dtype is None:
        dtype = batch.dtype if batch.is_floating_point() else torch.get_default_dtype()
    if batch.is_complex() or not dtype.is_floating_point:
        raise BatchTypeError(
            "dtype: expected one of floating-point numbers with scale, mean and std, got "
            f"{batch.dtype if batch.is_complex() else dtype}."
        )
    computed = torch.float64 if dtype == torch.float64 else torch.float32

    def number(option: str, numbers: PerChannel) -> torch.Tensor:
        tensor = torch.tensor(numbers, dtype=computed, device=batch.device)
        if tensor.numel() == 1:
            return tensor.reshape(())
        if channels >= batch.dim() or len(tensor) != batch.shape[channels]:
            raise BatchValueError(
                f"{option}: expected one number, or one for each channel, got {len(tensor)} of "
                f"them for a batch of shape {tuple(batch.shape)}."
            )
        return tensor.reshape(-1, *[1] * (batch.dim() - 1 - channels))

    x = batch.to(computed) * torch.tensor(scale, dtype=computed, device=batch.device)
    x = (x - number("mean", 0 if mean is None else mean)) / number("std", 1 if std is None else std)
    return x.to(dtype)


def _as_tensor(item: Any) -> torch.Tensor:
    (tensor,) = _C.from_numpy([item], None, None, None, "share", False, True, None, True, None)
    return tensor


def _error_for(
    tensors: list[torch.Tensor], error: Exception
) -> type[BatchTypeError] | type[BatchValueError]:
    """Another device is a matter of values, another kind of tensor one of types."""
    is_elsewhere = any(tensor.device.type != "cpu" for tensor in tensors)
    return BatchValueError if is_elsewhere or isinstance(error, ValueError) else BatchTypeError


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
