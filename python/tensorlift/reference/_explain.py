"""explain, by planning one array after another."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from .._ops.explain import blame, left_out
from .._ops.explanation import Entry, Explanation
from .._typing import ChannelOrder, Operation, PackStrategy, PerChannel, Ragged, Readonly, Side
from ._batch import numbers_as_tensors
from ._convert import as_list, check_dtype, check_options, plan_item
from ._layout import (
    joined_shape,
    padded_shape,
    positive,
    promoted_dtype,
    stacked_shape,
    truncated,
    with_dimensions,
)
from ._normalize import check_normalize, normalized
from ._pack import check_strategy, pack
from ._read import channels_first, check_date_units, read_item


def explain(
    arrays: Ragged,
    /,
    *,
    operation: Operation | Literal["pack"] = "from_numpy",
    dtype: torch.dtype | None = None,
    copy: bool | None = None,
    readonly: Readonly = "warn",
    dim: int = 0,
    channel_dim: int | None = None,
    channel_order: ChannelOrder = "rgb",
    scale: float | None = None,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    pad_to_multiple_of: int | Sequence[int] | None = None,
    max_length: int | Sequence[int | None] | None = None,
    truncate: Side | None = None,
    max_tokens: int | None = None,
    strategy: PackStrategy = "first_fit_decreasing",
) -> Explanation:
    """What :func:`tensorlift.explain` says."""
    if operation == "from_numpy":
        check_options(dtype, copy, readonly)
        return Explanation(
            plan_item(index, item, dtype, copy, readonly)
            for index, item in enumerate(as_list(arrays))
        )
    if operation == "pack":
        return _explain_pack(arrays, max_tokens, strategy, truncate, dtype)
    check_dtype(dtype)
    normalization = check_normalize(scale, mean, std, channel_order)
    if operation == "jagged":
        channel_dim = None
    if operation in ("cat", "jagged"):
        channel_order, normalization = "rgb", None
    tensors: list[torch.Tensor] = []
    entries: list[Entry] = []
    for index, item in enumerate(as_list(arrays)):
        try:
            tensor = channels_first(
                index,
                read_item(index, item, dtype),
                channel_dim,
                channel_order,
                pass_over=operation != "stack",
            )
        except (TypeError, ValueError, IndexError) as error:
            entries.append(_rejected(index, item, str(error)))
        else:
            tensors.append(tensor)
            entries.append(_accepted(index, item, tensor, dtype))
    rejected = [entry.error for entry in entries if entry.action == "rejected"]
    if rejected:
        return Explanation(entries, error=rejected[0])
    try:
        check_date_units(as_list(arrays))
        if operation == "pad":
            tensors = truncated(tensors, max_length, truncate)
        shape = _shape(tensors, operation, dim, pad_to_multiple_of)
        if normalization is not None:
            tensors = normalized(tensors, normalization, dtype)
        result = promoted_dtype(tensors) if dtype is None else dtype
    except (TypeError, ValueError, IndexError) as error:
        return Explanation(blame(entries, str(error)), error=str(error))
    entries = [
        _accepted(index, item, tensor, result, is_normalized=normalization is not None)
        for index, (item, tensor) in enumerate(zip(as_list(arrays), tensors, strict=True))
    ]
    return Explanation(entries, shape=tuple(shape), dtype=result)


def _explain_pack(
    arrays: Ragged,
    max_tokens: Any,
    strategy: PackStrategy,
    truncate: Side | None,
    dtype: torch.dtype | None,
) -> Explanation:
    """As `pad` with a longest length and `jagged` without one, and the rows of pack()."""
    positive("max_tokens", max_tokens)
    check_strategy(strategy)
    items = numbers_as_tensors(as_list(arrays))
    explained = explain(items, operation="jagged", dtype=dtype)
    try:
        packed = pack(items, max_tokens, strategy=strategy, truncate=truncate, dtype=dtype)
    except (TypeError, ValueError, IndexError) as error:
        if explained.error is not None:
            return explained
        return Explanation(blame(list(explained), str(error)), error=str(error))
    entries = []
    for entry, tensor in zip(explained, items, strict=True):
        length = min(len(tensor), max_tokens)
        nbytes = entry.nbytes * length // max(len(tensor), 1)
        is_cut = length < len(tensor) and entry.reason == "part of the batch"
        reason = "truncated" if is_cut else entry.reason
        entries.append(dataclasses.replace(entry, nbytes=nbytes, reason=reason))
    ends = packed.row_offsets.tolist()[1:]
    rows: list[list[int]] = [[] for _ in ends]
    for index, end in zip(packed.sequences.tolist(), packed.cu_seqlens.tolist()[1:], strict=True):
        rows[next(r for r, last in enumerate(ends) if end <= last)].append(index)
    return Explanation(
        left_out(entries),
        shape=tuple(packed.tokens.shape),
        dtype=packed.tokens.dtype,
        rows=tuple(map(tuple, rows)),
    )


def _shape(
    tensors: list[torch.Tensor],
    operation: Operation,
    dim: int,
    pad_to_multiple_of: int | Sequence[int] | None,
) -> list[int]:
    if not tensors:
        raise ValueError("arrays: expected at least one array, got an empty list.")
    if operation == "stack":
        ndim = tensors[0].dim() + 1
        if not -ndim <= dim < ndim:
            raise IndexError(f"dim: expected a number from {-ndim} to {ndim - 1}, got {dim}.")
        return stacked_shape(tensors, dim % ndim)
    if operation == "pad":
        return padded_shape(with_dimensions(tensors), pad_to_multiple_of)
    return joined_shape(tensors, dim if operation == "cat" else 0)[0]


def _rejected(index: int, item: Any, error: str) -> Entry:
    is_array = isinstance(item, (np.ndarray, np.generic, torch.Tensor))
    shape = tuple(item.shape) if is_array else None
    dtype = item.dtype if is_array else None
    return Entry(index, "rejected", "cannot be read", shape, dtype, None, 0, error)


def _accepted(
    index: int,
    item: Any,
    tensor: torch.Tensor,
    dtype: torch.dtype | None,
    *,
    is_normalized: bool = False,
) -> Entry:
    result = tensor.dtype if dtype is None else dtype
    reason = "copy=True"
    if not isinstance(item, torch.Tensor):
        reason = plan_item(index, item, dtype, True, "share").reason
    elif item.numel() and item.data_ptr() % item.itemsize:
        reason = "misaligned data"
    if is_normalized and reason in ("copy=True", "cast"):
        reason = "normalized"
    if reason in ("copy=True", "cast"):
        reason = "part of the batch" if tensor.dtype == result else "cast"
    if reason == "part of the batch" and tensor.numel() != math.prod(item.shape):
        reason = "truncated"
    nbytes = tensor.numel() * result.itemsize
    return Entry(index, "copied", reason, tuple(item.shape), item.dtype, result, nbytes)
