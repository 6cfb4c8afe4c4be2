"""stack, cat, pad and jagged: every array is copied into its place in an empty tensor."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from functools import reduce
from typing import Any, SupportsIndex

import numpy as np
import torch

from .._batch import Jagged, Padded
from .._typing import ArraysOrTensors, Device, Number, Side
from ._convert import (
    CASTABLE,
    COMPLEX_WARNING,
    as_list,
    cast,
    check_dtype,
    check_pin_memory,
    check_threads,
    copied,
    discards_imaginary,
    error_type,
    plain_array,
    plan_item,
)
from ._device import check_device, on_device


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
    tensors = _read(arrays, dtype, channel_dim, threads)
    dim = _wrapped(dim, _first(tensors).dim() + 1)
    shape = stacked_shape(tensors, dim)
    result = _empty(shape, tensors, dtype, memory_format, out, pin_memory)
    for index, tensor in enumerate(tensors):
        result.select(dim, index).copy_(cast(tensor, result.dtype))
    return on_device(_finish(result, out, tensors), target, stream)


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
    tensors = _read(arrays, dtype, channel_dim, threads, pass_over=True)
    shape, dim = joined_shape(tensors, dim, pass_over=True)
    result = _empty(shape, tensors, dtype, memory_format, out, pin_memory)
    begin = 0
    for tensor in tensors:
        if tensor.shape == (0,):
            continue
        result.narrow(dim, begin, tensor.shape[dim]).copy_(cast(tensor, result.dtype))
        begin += tensor.shape[dim]
    return on_device(_finish(result, out, tensors), target, stream)


def pad(
    arrays: ArraysOrTensors,
    /,
    *,
    value: Number = 0,
    side: Side = "right",
    multiple_of: int | Sequence[int] = 1,
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
    if not isinstance(side, str):
        raise TypeError(f'side: expected "right" or "left", got {side!r}.')
    if side not in ("right", "left"):
        raise ValueError(f'side: expected "right" or "left", got {side!r}.')
    if not isinstance(value, (bool, int, float, complex, np.number, np.bool_)):
        raise TypeError(f"value: expected a number, got {value!r}.")
    tensors = _read(arrays, dtype, channel_dim, threads)
    shape = padded_shape(tensors, multiple_of)
    result = _empty(shape, tensors, dtype, memory_format, out, pin_memory)
    result.copy_(_padding(value, result.dtype))
    for slot, tensor in zip(result, tensors, strict=True):
        place = slot
        for dim, size in enumerate(tensor.shape):
            place = place.narrow(dim, slot.shape[dim] - size if side == "left" else 0, size)
        place.copy_(cast(tensor, result.dtype))
    sizes = torch.tensor([list(tensor.shape) for tensor in tensors], dtype=torch.int64)
    sizes = sizes.reshape(len(tensors), -1)
    batch = _finish(result, out, tensors)
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
    tensors = _read(arrays, dtype, None, threads)
    shape, _ = joined_shape(tensors, 0, pass_over=False)
    result = _empty(shape, tensors, dtype, None, out, pin_memory)
    offsets = [0]
    for tensor in tensors:
        result[offsets[-1] : offsets[-1] + len(tensor)].copy_(cast(tensor, result.dtype))
        offsets.append(offsets[-1] + len(tensor))
    values = _finish(result, out, tensors)
    return Jagged(
        on_device(values, target, stream), on_device(torch.tensor(offsets), target, stream)
    )


def _padding(value: Any, dtype: torch.dtype) -> torch.Tensor:
    """A 0-d tensor of the number, if there is such a number of this dtype."""
    refusal = ValueError(f"value: expected a number within the range of {dtype}, got {value!r}.")
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


def stacked_shape(tensors: list[torch.Tensor], dim: int) -> list[int]:
    shape = _first(tensors).shape
    for index, tensor in enumerate(tensors):
        if tensor.shape != shape:
            raise ValueError(
                f"arrays[{index}]: expected shape {tuple(shape)}, got {tuple(tensor.shape)}."
            )
    return [*shape[:dim], len(tensors), *shape[dim:]]


def joined_shape(
    tensors: list[torch.Tensor], dim: int, *, pass_over: bool
) -> tuple[list[int], int]:
    for index, tensor in enumerate(tensors):
        if tensor.dim() == 0:
            raise ValueError(f"arrays[{index}]: expected at least 1 dimension, got a 0-d array.")
    counted = [t for t in tensors if not (pass_over and t.shape == (0,))]
    _first(tensors)
    if not counted:
        return [0], 0
    model = counted[0]
    dim = _wrapped(dim, model.dim())
    length = 0
    for index, tensor in enumerate(tensors):
        if pass_over and tensor.shape == (0,):
            continue
        others = [size for d, size in enumerate(tensor.shape) if d != dim]
        if tensor.dim() != model.dim() or others != [
            size for d, size in enumerate(model.shape) if d != dim
        ]:
            raise ValueError(f"arrays[{index}]: expected a shape like {tuple(model.shape)}.")
        length += tensor.shape[dim]
    return [*model.shape[:dim], length, *model.shape[dim + 1 :]], dim


def padded_shape(tensors: list[torch.Tensor], multiple_of: int | Sequence[int]) -> list[int]:
    ndim = _first(tensors).dim()
    multiples = list(multiple_of) if isinstance(multiple_of, Sequence) else [multiple_of]
    for multiple in multiples:
        is_number = isinstance(multiple, SupportsIndex) and not isinstance(multiple, np.ndarray)
        if isinstance(multiple, bool) or not is_number:
            raise TypeError(f"multiple_of: expected positive ints, got {multiple_of!r}.")
        if operator.index(multiple) < 1:
            raise ValueError(f"multiple_of: expected positive ints, got {multiple_of!r}.")
    for index, tensor in enumerate(tensors):
        if tensor.dim() != ndim:
            raise ValueError(f"arrays[{index}]: expected a {ndim}-D array, got {tensor.dim()}-D.")
    if not isinstance(multiple_of, Sequence):
        multiples = multiples * ndim
    if len(multiples) != ndim:
        raise ValueError(f"multiple_of: expected {ndim} ints, got {len(multiples)}.")
    largest = [max(t.shape[d] for t in tensors) for d in range(ndim)]
    rounded = [-(-size // m) * m for size, m in zip(largest, multiples, strict=True)]
    return [len(tensors), *rounded]


def promoted_dtype(tensors: list[torch.Tensor]) -> torch.dtype:
    try:
        return reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    except RuntimeError as error:
        raise TypeError(f"arrays: {error}") from None


def read_item(index: int, item: Any, dtype: torch.dtype | None) -> torch.Tensor:
    """A tensor of the item's own dtype and with memory of its own."""
    if not isinstance(item, torch.Tensor):
        entry = plan_item(index, item, dtype, True, "share")
        if entry.action == "rejected":
            raise error_type(entry)(entry.error)
        return copied(plain_array(item))
    if item.layout != torch.strided or item.is_nested or _lacks_memory(item):
        raise TypeError(f"arrays[{index}]: expected a strided tensor, got {item.layout}.")
    if item.device.type != "cpu":
        raise ValueError(f"arrays[{index}]: expected a CPU tensor, got one on {item.device}.")
    if _needs_gradient(item):
        raise ValueError(f"arrays[{index}]: expected a tensor that needs no gradient.")
    if item.dtype not in CASTABLE:
        raise TypeError(f"arrays[{index}]: expected a tensor of plain numbers, got {item.dtype}.")
    if item.data_ptr() % item.itemsize:  # torch's own loops may crash on it, NumPy's do not
        return copied(item.detach().numpy())
    return item.detach().clone(memory_format=torch.contiguous_format)


def channels_first(
    index: int, tensor: torch.Tensor, channel_dim: int | None, *, pass_over: bool = False
) -> torch.Tensor:
    if channel_dim is None or (pass_over and tensor.shape == (0,)):
        return tensor
    if not -tensor.dim() <= channel_dim < tensor.dim():
        raise IndexError(f"arrays[{index}]: expected a dimension channel_dim={channel_dim}.")
    return tensor.movedim(channel_dim, 0)


def _read(
    arrays: ArraysOrTensors,
    dtype: torch.dtype | None,
    channel_dim: int | None,
    threads: int | None,
    *,
    pass_over: bool = False,
) -> list[torch.Tensor]:
    check_dtype(dtype)
    check_threads(threads)
    items = as_list(arrays)
    tensors = [
        channels_first(index, read_item(index, item, dtype), channel_dim, pass_over=pass_over)
        for index, item in enumerate(items)
    ]
    _check_date_units(items)
    return tensors


def _check_date_units(items: list[Any]) -> None:
    dates = [
        (index, item.dtype.newbyteorder("="))
        for index, item in enumerate(items)
        if not isinstance(item, torch.Tensor) and item.dtype.kind in "mM" and item.size > 0
    ]
    for index, dtype in dates:
        if dtype != dates[0][1]:
            raise TypeError(f"arrays[{index}]: expected {dates[0][1]}, got {dtype}.")


def _first(tensors: list[torch.Tensor]) -> torch.Tensor:
    if not tensors:
        raise ValueError("arrays: expected at least one array, got an empty list.")
    return tensors[0]


def _wrapped(dim: int, ndim: int) -> int:
    if isinstance(dim, bool) or not isinstance(dim, SupportsIndex):
        raise TypeError(f"dim: expected an int, got {dim!r}.")
    if not -ndim <= dim < ndim:
        raise IndexError(f"dim: expected a number from {-ndim} to {ndim - 1}, got {dim}.")
    return dim % ndim


def _empty(
    shape: list[int],
    tensors: list[torch.Tensor],
    dtype: torch.dtype | None,
    memory_format: torch.memory_format | None,
    out: torch.Tensor | None,
    pin_memory: bool,
) -> torch.Tensor:
    """Where the result is built; `out` itself is written to at the very end."""
    result_dtype = promoted_dtype(tensors) if dtype is None else dtype
    check_pin_memory(pin_memory)
    if out is not None:
        _check_out(out, shape, result_dtype)
        if pin_memory or memory_format not in (None, torch.contiguous_format):
            raise ValueError("out: expected neither pin_memory nor memory_format with it.")
    memory_format = torch.contiguous_format if memory_format is None else memory_format
    ndim = {torch.channels_last: 4, torch.channels_last_3d: 5}.get(memory_format, len(shape))
    if memory_format == torch.preserve_format or len(shape) != ndim:
        raise ValueError(f"memory_format: expected one for shape {shape}, got {memory_format}.")
    return torch.empty(
        shape, dtype=result_dtype, memory_format=memory_format, pin_memory=pin_memory
    )


def _check_out(out: torch.Tensor, shape: list[int], dtype: torch.dtype) -> None:
    if not isinstance(out, torch.Tensor):
        raise TypeError(f"out: expected a torch.Tensor or None, got {out!r}.")
    fits = out.device.type == "cpu" and list(out.shape) == shape and out.dtype == dtype
    if out.is_inference() and not torch.is_inference_mode_enabled():
        raise ValueError("out: expected a tensor that may be written to, got an inference tensor.")
    if not fits or _lacks_memory(out) or _needs_gradient(out):
        raise ValueError(f"out: expected a CPU tensor of shape {shape} and {dtype}.")
    addresses = torch.as_strided(torch.arange(_reach(out)), out.shape, out.stride())
    if len(set(addresses.reshape(-1).tolist())) != out.numel():
        raise ValueError("out: expected a tensor whose elements have addresses of their own.")


def _lacks_memory(tensor: torch.Tensor) -> bool:
    """Whether its storage was made smaller than the tensor."""
    end = (tensor.storage_offset() + _reach(tensor)) * tensor.itemsize
    is_here = tensor.device.type == "cpu" and tensor.numel() > 0
    return is_here and tensor.untyped_storage().nbytes() < end


def _needs_gradient(tensor: torch.Tensor) -> bool:
    """Of either mode."""
    if tensor.requires_grad and torch.is_grad_enabled():
        return True
    return torch._unpack_dual(tensor, 0).tangent is not None


def _reach(tensor: torch.Tensor) -> int:
    """Elements from the first to the last of a tensor, both included."""
    if tensor.numel() == 0:
        return 0
    return 1 + sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )


def _finish(
    result: torch.Tensor, out: torch.Tensor | None, tensors: list[torch.Tensor]
) -> torch.Tensor:
    if any(discards_imaginary(tensor.dtype, result.dtype) for tensor in tensors):
        warnings.warn(COMPLEX_WARNING, UserWarning, stacklevel=3)
    return result if out is None else out.copy_(result)
