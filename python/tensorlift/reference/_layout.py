"""The shape of a batch, and its dtype."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, SupportsIndex

import numpy as np
import torch


def stacked_shape(tensors: list[torch.Tensor], dim: int) -> list[int]:
    shape = first(tensors).shape
    for index, tensor in enumerate(tensors):
        if tensor.shape != shape:
            raise ValueError(
                f"arrays[{index}]: expected shape {tuple(shape)}, got {tuple(tensor.shape)}."
            )
    return [*shape[:dim], len(tensors), *shape[dim:]]


def joined_shape(tensors: list[torch.Tensor], dim: int) -> tuple[list[int], int]:
    for index, tensor in enumerate(tensors):
        if tensor.dim() == 0:
            raise ValueError(f"arrays[{index}]: expected at least 1 dimension, got a 0-d array.")
    counted = [t for t in tensors if t.shape != (0,)]
    first(tensors)
    if not counted:
        return [0], 0
    model = counted[0]
    dim = wrapped(dim, model.dim())
    length = 0
    for index, tensor in enumerate(tensors):
        if tensor.shape == (0,):
            continue
        others = [size for d, size in enumerate(tensor.shape) if d != dim]
        if tensor.dim() != model.dim() or others != [
            size for d, size in enumerate(model.shape) if d != dim
        ]:
            raise ValueError(f"arrays[{index}]: expected a shape like {tuple(model.shape)}.")
        length += tensor.shape[dim]
    return [*model.shape[:dim], length, *model.shape[dim + 1 :]], dim


def with_dimensions(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Gives tensors of shape (0,) the dimensions of the first of another shape."""
    model = next((t for t in tensors if t.dim() > 0 and t.shape != (0,)), None)
    if model is None:
        return tensors
    return [t.reshape(0, *model.shape[1:]) if t.shape == (0,) else t for t in tensors]


def padded_shape(
    tensors: list[torch.Tensor], pad_to_multiple_of: int | Sequence[int] | None
) -> list[int]:
    ndim = first(tensors).dim()
    multiples = per_dimension(
        "pad_to_multiple_of", 1 if pad_to_multiple_of is None else pad_to_multiple_of, positive
    )
    for index, tensor in enumerate(tensors):
        if tensor.dim() != ndim:
            raise ValueError(f"arrays[{index}]: expected a {ndim}-D array, got {tensor.dim()}-D.")
    largest = [max(t.shape[d] for t in tensors) for d in range(ndim)]
    multiples = for_each("pad_to_multiple_of", multiples, ndim)
    rounded = [-(-size // m) * m for size, m in zip(largest, multiples, strict=True)]
    return [len(tensors), *rounded]


def truncated(
    tensors: list[torch.Tensor],
    max_length: int | Sequence[int | None] | None,
    truncate: str | None,
    name: str = "max_length",
) -> list[torch.Tensor]:
    if truncate is not None:
        check_side("truncate", truncate)
    if max_length is None:
        if truncate is not None:
            raise ValueError(f"truncate: expected None without max_length=, got {truncate!r}.")
        return tensors
    limits = per_dimension("max_length", max_length, _limit)
    if not tensors:
        return tensors
    if isinstance(limits, list):
        model = next((t for t in tensors if t.dim() > 0 and t.shape != (0,)), tensors[0])
        limits = for_each("max_length", limits, model.dim())
    else:
        limits = [limits]
    return [_truncated(index, tensor, limits, truncate) for index, tensor in enumerate(tensors)]


def _truncated(
    index: int, tensor: torch.Tensor, limits: list[int | None], truncate: str | None
) -> torch.Tensor:
    for dim, limit in enumerate(limits[: tensor.dim()]):
        over = 0 if limit is None else tensor.shape[dim] - limit
        if limit is None or over <= 0:
            continue
        if truncate is None:
            raise ValueError(
                f"arrays[{index}]: expected at most {limit} elements in dimension {dim}, got shape "
                f"{tuple(tensor.shape)}."
            )
        tensor = tensor.narrow(dim, over if truncate == "left" else 0, limit)
    return tensor


def per_dimension(name: str, option: Any, check: Callable[[str, Any], Any]) -> Any:
    """One value, or a list of them; check() says what is wrong with one."""
    if isinstance(option, str) or not isinstance(option, Sequence):
        return check(name, option)
    return [check(name, item) for item in option]


def for_each(name: str, values: Any, ndim: int) -> list[Any]:
    """A value for each dimension."""
    if not isinstance(values, list):
        return [values] * ndim
    if len(values) != ndim:
        raise ValueError(f"{name}: expected {ndim} of them, got {len(values)}.")
    return values


def check_side(name: str, side: Any) -> str:
    if not isinstance(side, str):
        raise TypeError(f'{name}: expected "right" or "left", got {side!r}.')
    if side not in ("right", "left"):
        raise ValueError(f'{name}: expected "right" or "left", got {side!r}.')
    return side


def _limit(name: str, number: Any) -> int | None:
    return None if number is None else positive(name, number)


def positive(name: str, number: Any) -> int:
    is_number = isinstance(number, SupportsIndex) and not isinstance(number, np.ndarray)
    if isinstance(number, bool) or not is_number:
        raise TypeError(f"{name}: expected positive ints, got {number!r}.")
    if operator.index(number) < 1:
        raise ValueError(f"{name}: expected positive ints, got {number!r}.")
    return operator.index(number)


def mask_dims(mask_dim: int | Sequence[int] | None, ndim: int) -> list[int]:
    if mask_dim is None:
        return list(range(ndim))
    dims = per_dimension("mask_dim", mask_dim, lambda _, dim: _mask_dim(dim, ndim))
    dims = dims if isinstance(dims, list) else [dims]
    if len(set(dims)) != len(dims):
        raise ValueError(f"mask_dim: expected each dimension once, got {mask_dim!r}.")
    return dims


def _mask_dim(dim: Any, ndim: int) -> int:
    if isinstance(dim, bool) or not isinstance(dim, SupportsIndex):
        raise TypeError(f"mask_dim: expected ints, got {dim!r}.")
    if not -ndim <= operator.index(dim) < ndim:
        raise IndexError(f"mask_dim: expected a number from {-ndim} to {ndim - 1}, got {dim!r}.")
    return operator.index(dim) % ndim


def promoted_dtype(tensors: list[torch.Tensor]) -> torch.dtype:
    try:
        return reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    except RuntimeError as error:
        raise TypeError(f"arrays: {error}") from None


def first(tensors: list[torch.Tensor]) -> torch.Tensor:
    if not tensors:
        raise ValueError("arrays: expected at least one array, got an empty list.")
    return tensors[0]


def wrapped(dim: int, ndim: int) -> int:
    if isinstance(dim, bool) or not isinstance(dim, SupportsIndex):
        raise TypeError(f"dim: expected an int, got {dim!r}.")
    if abs(dim) >> 63:
        raise ValueError(f"dim: expected an int of at most 64 bits, got {dim}.")
    if not -ndim <= dim < ndim:
        raise IndexError(f"dim: expected a number from {-ndim} to {ndim - 1}, got {dim}.")
    return dim % ndim
