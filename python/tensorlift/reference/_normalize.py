"""Normalization: three operations of torch, and the checks in front of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from typing import Any, NamedTuple

import numpy as np
import torch

from ._convert import cast
from ._layout import first, promoted_dtype


class Normalization(NamedTuple):
    """Numbers to compute with: one for all channels, or one for each."""

    scale: float
    mean: list[float]
    std: list[float]


def check_normalize(scale: Any, mean: Any, std: Any, channel_order: Any) -> Normalization | None:
    """None where nothing is asked for."""
    if not isinstance(channel_order, str):
        raise TypeError(f'channel_order: expected "rgb" or "bgr", got {channel_order!r}.')
    if channel_order not in ("rgb", "bgr"):
        raise ValueError(f'channel_order: expected "rgb" or "bgr", got {channel_order!r}.')
    if scale is None and mean is None and std is None:
        return None
    means = [0.0] if mean is None else _numbers("mean", mean)
    stds = [1.0] if std is None else _numbers("std", std)
    if any(np.float32(number) <= 0 for number in stds):
        raise ValueError(f"std: expected finite numbers above 0, got {std!r}.")
    if scale is None:
        raise ValueError("scale: expected a number beside mean and std, got None.")
    return Normalization(_number("scale", scale), means, stds)


def _numbers(option: str, numbers: Any) -> list[float]:
    has_items = hasattr(numbers, "__len__") and getattr(numbers, "shape", None) != ()
    if not has_items or isinstance(numbers, (str, bytes, Mapping, Set)):
        return [_number(option, numbers)]
    parsed = [_number(option, number) for number in numbers]
    if not parsed:
        raise ValueError(f"{option}: expected a number, or one for each channel, got none.")
    return parsed


def _number(option: str, number: Any) -> float:
    is_number = hasattr(number, "__float__") or hasattr(number, "__index__")
    if isinstance(number, (bool, np.complexfloating)) or not is_number:
        raise TypeError(f"{option}: expected a number, got {number!r}.")
    with np.errstate(over="ignore"):
        if not math.isfinite(np.float32(number)):
            raise ValueError(f"{option}: expected a finite number, got {number!r}.")
    return float(number)


def in_order(index: int, tensor: torch.Tensor, channel_order: str) -> torch.Tensor:
    if channel_order == "rgb":
        return tensor
    if tensor.dim() == 0 or len(tensor) != 3:
        raise ValueError(f"arrays[{index}]: expected 3 channels, got shape {tuple(tensor.shape)}.")
    turned = torch.empty_like(tensor)  # torch.flip() is not there for all dtypes
    for channel, source in zip(turned, reversed(list(tensor)), strict=True):
        channel.copy_(source)
    return turned


def normalized(
    tensors: list[torch.Tensor],
    normalization: Normalization | None,
    dtype: torch.dtype | None,
    out: torch.Tensor | None = None,
) -> list[torch.Tensor]:
    """The tensors, of the batch's dtype where they are normalized."""
    if normalization is None:
        return tensors
    if dtype is None and isinstance(out, torch.Tensor):
        if not out.dtype.is_floating_point:
            raise TypeError(f"out: expected a dtype of floating-point numbers, got {out.dtype}.")
        dtype = out.dtype
    result = normalized_dtype(tensors, dtype)
    for option in ("mean", "std"):
        check_count(option, tensors, getattr(normalization, option))
    return [normalized_one(tensor, normalization, result) for tensor in tensors]


def normalized_one(
    tensor: torch.Tensor, normalization: Normalization, dtype: torch.dtype
) -> torch.Tensor:
    computed = torch.float64 if dtype == torch.float64 else torch.float32

    def number(numbers: list[float]) -> torch.Tensor:
        shape = [-1, *[1] * (tensor.dim() - 1)] if len(numbers) > 1 else []
        return torch.tensor(numbers, dtype=computed).reshape(shape)

    if tensor.shape == (0,):  # whatever the channels are
        return torch.empty(0, dtype=dtype)
    x = cast(tensor, computed)
    x = (x * number([normalization.scale]) - number(normalization.mean)) / number(normalization.std)
    return cast(x, dtype)


def normalized_dtype(tensors: list[torch.Tensor], dtype: torch.dtype | None) -> torch.dtype:
    first(tensors)
    for index, tensor in enumerate(tensors):
        if tensor.is_complex():
            raise TypeError(f"arrays[{index}]: expected real numbers, got {tensor.dtype}.")
    if dtype is not None:
        if not dtype.is_floating_point:
            raise TypeError(f"dtype: expected one of floating-point numbers, got {dtype}.")
        return dtype
    promoted = promoted_dtype(tensors)
    return promoted if promoted.is_floating_point else torch.get_default_dtype()


def check_count(option: str, tensors: list[torch.Tensor], numbers: list[float]) -> None:
    if len(numbers) == 1:
        return
    for index, tensor in enumerate(tensors):
        if tensor.shape != (0,) and (tensor.dim() == 0 or len(tensor) != len(numbers)):
            raise ValueError(
                f"{option}: expected one number for each channel of arrays[{index}], of shape "
                f"{tuple(tensor.shape)}, got {len(numbers)} of them."
            )
