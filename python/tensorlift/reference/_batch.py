"""stack, cat, pad and jagged: every array is copied into its place in an empty tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .._ops.batch import Jagged, Padded
from .._typing import ArraysOrTensors, Device, Number, Side
from ._convert import as_list, cast
from ._device import check_device, on_device
from ._layout import first, joined_shape, padded_shape, stacked_shape, with_dimensions, wrapped
from ._output import finish, make_output
from ._read import models, read


def stack(
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
    """What :func:`tensorlift.stack` does; `threads` is ignored."""
    target = check_device(device, non_blocking, stream, pin_memory=pin_memory, out=out)
    items = as_list(arrays)
    tensors = read(items, dtype, channel_dim, threads)
    dim = wrapped(dim, first(tensors).dim() + 1)
    shape = stacked_shape(tensors, dim)
    strides = torch.stack(models(items, channel_dim), dim).stride()
    result = make_output(shape, tensors, dtype, memory_format, strides, out, pin_memory)
    for index, tensor in enumerate(tensors):
        result.select(dim, index).copy_(cast(tensor, result.dtype))
    return on_device(finish(result, out, tensors), target, stream)


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
    tensors = read(items, dtype, channel_dim, threads, pass_over=True)
    shape, dim = joined_shape(tensors, dim)
    strides = torch.cat(models(items, channel_dim), dim).stride()
    result = make_output(shape, tensors, dtype, memory_format, strides, out, pin_memory)
    begin = 0
    for tensor in tensors:
        if tensor.shape == (0,):
            continue
        result.narrow(dim, begin, tensor.shape[dim]).copy_(cast(tensor, result.dtype))
        begin += tensor.shape[dim]
    return on_device(finish(result, out, tensors), target, stream)


def pad(
    arrays: ArraysOrTensors,
    /,
    *,
    padding_value: Number = 0,
    padding_side: Side = "right",
    pad_to_multiple_of: int | Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    channel_dim: int | None = None,
    memory_format: torch.memory_format | None = None,
    out: torch.Tensor | None = None,
    pin_memory: bool = False,
    device: Device | None = None,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    threads: int | None = None,
) -> Padded:
    """What :func:`tensorlift.pad` does; `threads` is ignored."""
    target = check_device(device, non_blocking, stream, pin_memory=pin_memory, out=out)
    if not isinstance(padding_side, str):
        raise TypeError(f'padding_side: expected "right" or "left", got {padding_side!r}.')
    if padding_side not in ("right", "left"):
        raise ValueError(f'padding_side: expected "right" or "left", got {padding_side!r}.')
    if not isinstance(padding_value, (bool, int, float, complex, np.number, np.bool_)):
        raise TypeError(f"padding_value: expected a number, got {padding_value!r}.")
    items = _numbers_as_tensors(as_list(arrays))
    tensors = with_dimensions(read(items, dtype, channel_dim, threads, pass_over=True))
    shape = padded_shape(tensors, pad_to_multiple_of)
    result = make_output(shape, tensors, dtype, memory_format, None, out, pin_memory)
    result.copy_(_padding(padding_value, result.dtype))
    for slot, tensor in zip(result, tensors, strict=True):
        place = slot
        for dim, size in enumerate(tensor.shape):
            place = place.narrow(dim, slot.shape[dim] - size if padding_side == "left" else 0, size)
        place.copy_(cast(tensor, result.dtype))
    sizes = torch.tensor([list(tensor.shape) for tensor in tensors], dtype=torch.int64)
    sizes = sizes.reshape(len(tensors), -1)
    batch = finish(result, out, tensors)
    return Padded(on_device(batch, target, stream), on_device(sizes, target, stream))


def jagged(
    arrays: ArraysOrTensors,
    /,
    *,
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
    items = _numbers_as_tensors(as_list(arrays))
    tensors = read(items, dtype, None, threads, pass_over=True)
    shape, _ = joined_shape(tensors, 0)
    strides = torch.cat(models(items, None)).stride()
    result = make_output(shape, tensors, dtype, None, strides, out, pin_memory)
    offsets = [0]
    for tensor in tensors:
        if len(tensor):  # one of shape (0,) may have fewer dimensions
            result[offsets[-1] : offsets[-1] + len(tensor)].copy_(cast(tensor, result.dtype))
        offsets.append(offsets[-1] + len(tensor))
    values = finish(result, out, tensors)
    return Jagged(
        on_device(values, target, stream), on_device(torch.tensor(offsets), target, stream)
    )


def _numbers_as_tensors(items: list[Any]) -> list[Any]:
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
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, complex) and not (dtype.is_complex or dtype == torch.bool):
        raise refusal
    if dtype == torch.bool:
        return torch.tensor(bool(number))
    if dtype.is_complex:
        return torch.tensor(complex(number)).to(dtype)
    if dtype.is_floating_point:
        largest = torch.finfo(dtype).max
        has_infinity = "fn" not in str(dtype) and "uz" not in str(dtype)
        if abs(float(number)) > largest and not (has_infinity and np.isinf(number)):
            raise refusal
        return torch.tensor(float(number), dtype=torch.float64).to(dtype)
    limits = torch.iinfo(dtype)
    if not np.isfinite(number) or not limits.min <= int(number) <= limits.max:
        raise refusal
    return torch.tensor(int(number), dtype=dtype)
