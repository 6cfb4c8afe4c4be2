"""The shape of a batch, and its dtype."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from typing import SupportsIndex

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
    asked = 1 if pad_to_multiple_of is None else pad_to_multiple_of
    multiples = list(asked) if isinstance(asked, Sequence) else [asked]
    for multiple in multiples:
        is_number = isinstance(multiple, SupportsIndex) and not isinstance(multiple, np.ndarray)
        if isinstance(multiple, bool) or not is_number:
            raise TypeError(f"pad_to_multiple_of: expected positive ints, got {asked!r}.")
        if operator.index(multiple) < 1:
            raise ValueError(f"pad_to_multiple_of: expected positive ints, got {asked!r}.")
    for index, tensor in enumerate(tensors):
        if tensor.dim() != ndim:
            raise ValueError(f"arrays[{index}]: expected a {ndim}-D array, got {tensor.dim()}-D.")
    if not isinstance(asked, Sequence):
        multiples = multiples * ndim
    if len(multiples) != ndim:
        raise ValueError(f"pad_to_multiple_of: expected {ndim} ints, got {len(multiples)}.")
    largest = [max(t.shape[d] for t in tensors) for d in range(ndim)]
    rounded = [-(-size // m) * m for size, m in zip(largest, multiples, strict=True)]
    return [len(tensors), *rounded]


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
    if not -ndim <= dim < ndim:
        raise IndexError(f"dim: expected a number from {-ndim} to {ndim - 1}, got {dim}.")
    return dim % ndim
