"""stack, cat, pad and jagged: every array is copied into its place in an empty tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .._ops.batch import Jagged, Padded, PaddedWithMask, padded
from .._ops.by_torch import join
from .._typing import ArraysOrTensors, ChannelOrder, Device, Number, PerChannel, Ragged, Side
from ._convert import CASTABLE, as_list, cast
from ._device import check_device, on_device
from ._layout import (
    check_side,
    first,
    for_each,
    joined_shape,
    mask_dims,
    padded_shape,
    per_dimension,
    stacked_shape,
    truncated,
    with_dimensions,
    wrapped,
)
from ._normalize import check_normalize, normalized
from ._output import finish, make_output
from ._read import models, read, refusal_of_tensors


def stack(
    arrays: ArraysOrTensors,
    /,
    dim: int = 0,
    *,
    dtype: torch.dtype | None = None,
    channel_dim: int | None = None,
    channel_order: ChannelOrder = "rgb",
    scale: float | None = None,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    memory_format: torch.memory_format | None = None,
    out: torch.Tensor | None = None,
    pin_memory: bool = False,
    device: Device | None = None,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    threads: int | None = None,
) -> torch.Tensor:
    """What :func:`tensorlift.stack` does; `threads` is ignored."""
    target = check_device(device, non_blocking, stream, pin_memory=pin_memory, out=out)
    normalization = check_normalize(scale, mean, std, channel_order)
    items = as_list(arrays)
    if (refusal := refusal_of_tensors(items)) is not None:
        options = (dim, dtype, channel_dim, memory_format, out, pin_memory)
        normalize = (*(normalization or (None, None, None)), channel_order)
        return join("stack", items, refusal, *options, device, non_blocking, stream, normalize)
    tensors = read(items, dtype, channel_dim, threads, channel_order)
    dim = wrapped(dim, first(tensors).dim() + 1)
    shape = stacked_shape(tensors, dim)
    tensors = normalized(tensors, normalization, dtype, out)
    strides = torch.stack(models(items, channel_dim, channel_order), dim).stride()
    result = make_output(shape, tensors, dtype, memory_format, strides, out, pin_memory, target)
    for index, tensor in enumerate(tensors):
        result.select(dim, index).copy_(cast(tensor, result.dtype))
    return on_device(finish(result, out, tensors, stream), target, stream)


def cat(
    arrays: ArraysOrTensors,
    /,
    dim: int = 0,
    *,
    dtype: torch.dtype | None = None,
    channel_dim: int | None = None,
    memory_format: torch.memory_format | None = None,
    out: torch.Tensor | None = None,
    pin_memory: bool = False,
    device: Device | None = None,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    threads: int | None = None,
) -> torch.Tensor:
    """What :func:`tensorlift.cat` does; `threads` is ignored."""
    target = check_device(device, non_blocking, stream, pin_memory=pin_memory, out=out)
    items = as_list(arrays)
    if (refusal := refusal_of_tensors(items)) is not None:
        options = (dim, dtype, channel_dim, memory_format, out, pin_memory)
        return join("cat", items, refusal, *options, device, non_blocking, stream)
    tensors = read(items, dtype, channel_dim, threads, pass_over=True)
    shape, dim = joined_shape(tensors, dim)
    strides = torch.cat(models(items, channel_dim), dim).stride()
    result = make_output(shape, tensors, dtype, memory_format, strides, out, pin_memory, target)
    begin = 0
    for tensor in tensors:
        if tensor.shape == (0,):
            continue
        result.narrow(dim, begin, tensor.shape[dim]).copy_(cast(tensor, result.dtype))
        begin += tensor.shape[dim]
    return on_device(finish(result, out, tensors, stream, keeps_format=True), target, stream)


def pad(
    arrays: Ragged,
    /,
    *,
    padding_value: Number = 0,
    padding_side: Side | Sequence[Side] = "right",
    pad_to_multiple_of: int | Sequence[int] | None = None,
    max_length: int | Sequence[int | None] | None = None,
    truncate: Side | None = None,
    mask: bool | torch.dtype = False,
    mask_dim: int | Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    channel_dim: int | None = None,
    channel_order: ChannelOrder = "rgb",
    scale: float | None = None,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    memory_format: torch.memory_format | None = None,
    out: torch.Tensor | None = None,
    pin_memory: bool = False,
    device: Device | None = None,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    threads: int | None = None,
) -> Padded | PaddedWithMask:
    """What :func:`tensorlift.pad` does; `threads` is ignored."""
    target = check_device(device, non_blocking, stream, pin_memory=pin_memory, out=out)
    sides = per_dimension("padding_side", padding_side, check_side)
    mask_dtype = _mask_dtype(mask, mask_dim)
    is_number = isinstance(padding_value, (bool, int, float, complex, np.number, np.bool_))
    if not is_number and not (isinstance(padding_value, torch.Tensor) and padding_value.dim() == 0):
        raise TypeError(f"padding_value: expected a number, got {padding_value!r}.")
    normalization = check_normalize(scale, mean, std, channel_order)
    items = numbers_as_tensors(as_list(arrays))
    read_ones = read(items, dtype, channel_dim, threads, channel_order, pass_over=True)
    read_ones = truncated(read_ones, max_length, truncate)
    shape = padded_shape(with_dimensions(read_ones), pad_to_multiple_of)
    tensors = with_dimensions(normalized(read_ones, normalization, dtype, out))
    sides = for_each("padding_side", sides, len(shape) - 1)
    result = make_output(shape, tensors, dtype, memory_format, None, out, pin_memory, target)
    result.copy_(_padding(padding_value, result.dtype))
    for slot, tensor in zip(result, tensors, strict=True):
        _place(slot, tensor.shape, sides).copy_(cast(tensor, result.dtype))
    sizes = torch.tensor([list(tensor.shape) for tensor in tensors], dtype=torch.int64)
    sizes = sizes.reshape(len(tensors), -1)
    written = None
    if mask_dtype is not None:
        dims = mask_dims(mask_dim, len(sides))
        written = torch.zeros([shape[0], *(shape[1 + dim] for dim in dims)], dtype=mask_dtype)
        for slot, tensor in zip(written, tensors, strict=True):
            box = [tensor.shape[dim] for dim in dims]
            _place(slot, box, [sides[dim] for dim in dims]).fill_(1)
    batch = finish(result, out, tensors, stream)
    return padded(
        on_device(batch, target, stream),
        on_device(sizes, target, stream),
        None if written is None else on_device(written, target, stream),
    )


def _place(slot: torch.Tensor, box: Sequence[int], sides: Sequence[Side]) -> torch.Tensor:
    """The part of a slot where an array of this shape lies."""
    for dim, (size, side) in enumerate(zip(box, sides, strict=True)):
        slot = slot.narrow(dim, slot.shape[dim] - size if side == "left" else 0, size)
    return slot


def _mask_dtype(mask: bool | torch.dtype, mask_dim: Any) -> torch.dtype | None:
    if mask is False:
        if mask_dim is not None:
            raise ValueError(f"mask_dim: expected None without mask=, got {mask_dim!r}.")
        return None
    if mask is True:
        return torch.bool
    if mask not in CASTABLE:
        raise TypeError(f"mask: expected True, False or a torch.dtype, got {mask!r}.")
    return mask


def jagged(
    arrays: Ragged,
    /,
    *,
    offsets_dtype: torch.dtype = torch.int64,
    dtype: torch.dtype | None = None,
    out: torch.Tensor | None = None,
    pin_memory: bool = False,
    device: Device | None = None,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    threads: int | None = None,
) -> Jagged:
    """What :func:`tensorlift.jagged` does; `threads` is ignored."""
    target = check_device(device, non_blocking, stream, pin_memory=pin_memory, out=out)
    if not isinstance(offsets_dtype, torch.dtype):
        raise TypeError(f"offsets_dtype: expected a torch.dtype, got {offsets_dtype!r}.")
    if offsets_dtype not in (torch.int32, torch.int64):
        raise ValueError(f"offsets_dtype: expected int32 or int64, got {offsets_dtype}.")
    items = numbers_as_tensors(as_list(arrays))
    tensors = read(items, dtype, None, threads, pass_over=True)
    shape, _ = joined_shape(tensors, 0)
    if shape[0] > torch.iinfo(offsets_dtype).max:
        raise ValueError(f"offsets_dtype: expected torch.int64 for {shape[0]} rows.")
    strides = torch.cat(models(items, None)).stride()
    result = make_output(shape, tensors, dtype, None, strides, out, pin_memory, target)
    offsets = [0]
    for tensor in tensors:
        if len(tensor):  # one of shape (0,) may have fewer dimensions
            result[offsets[-1] : offsets[-1] + len(tensor)].copy_(cast(tensor, result.dtype))
        offsets.append(offsets[-1] + len(tensor))
    values = finish(result, out, tensors, stream)
    return Jagged(
        on_device(values, target, stream),
        on_device(torch.tensor(offsets, dtype=offsets_dtype), target, stream),
    )


def numbers_as_tensors(items: list[Any]) -> list[Any]:
    return [
        _number_tensor(item, index) if type(item) in (list, tuple) else item
        for index, item in enumerate(items)
    ]


def _number_tensor(numbers: Any, index: int) -> torch.Tensor:
    try:
        tensor = torch.tensor(numbers, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"arrays[{index}]: expected an array, a tensor or a list of numbers, "
            f"got {type(numbers).__name__} ({error})."
        ) from None
    return tensor if tensor.numel() else tensor.long()  # nothing in it says that it is float


def _padding(value: Any, dtype: torch.dtype) -> torch.Tensor:
    """A 0-d tensor of the number, if there is such a number of this dtype."""
    refusal = ValueError(
        f"padding_value: expected a number within the range of {dtype}, got {value!r}."
    )
    number = value.item() if isinstance(value, (np.generic, torch.Tensor)) else value
    if isinstance(number, complex) and not (dtype.is_complex or dtype == torch.bool):
        raise refusal
    if dtype == torch.bool:
        return torch.tensor(bool(number))
    if dtype.is_complex:
        for part in (complex(number).real, complex(number).imag):
            _padding(part, dtype.to_real())
        return torch.tensor(complex(number)).to(dtype)
    if dtype.is_floating_point:
        largest = torch.finfo(dtype).max
        has_infinity = "fn" not in str(dtype) and "uz" not in str(dtype)
        if abs(float(number)) > largest and not (has_infinity and np.isinf(number)):
            raise refusal
        return torch.tensor(float(number), dtype=torch.float64).to(dtype)
    limits = torch.iinfo(dtype)
    if not math.isfinite(number) or not limits.min <= int(number) <= limits.max:
        raise refusal
    return torch.tensor(int(number), dtype=dtype)
