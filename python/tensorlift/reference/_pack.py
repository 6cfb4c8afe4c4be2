"""pack, by looking at all rows for each sequence."""

from __future__ import annotations

from typing import Any

import torch

from .._ops.pack import Packed
from .._typing import Device, PackStrategy, Ragged, Side
from ._batch import jagged, numbers_as_tensors
from ._convert import as_list
from ._device import check_device, on_device
from ._layout import check_side, joined_shape, positive, promoted_dtype, truncated
from ._read import read


def pack(
    arrays: Ragged,
    /,
    max_tokens: int,
    *,
    strategy: PackStrategy = "first_fit_decreasing",
    truncate: Side | None = None,
    dtype: torch.dtype | None = None,
    pin_memory: bool = False,
    device: Device | None = None,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    threads: int | None = None,
) -> Packed:
    """What :func:`tensorlift.pack` does; `threads` is ignored."""
    target = check_device(device, non_blocking, stream, pin_memory=pin_memory, out=None)
    positive("max_tokens", max_tokens)
    check_strategy(strategy)
    if truncate is not None:
        check_side("truncate", truncate)
    items = numbers_as_tensors(as_list(arrays))
    tensors = truncated(
        read(items, dtype, None, threads, pass_over=True), max_tokens, truncate, "max_tokens"
    )
    total = joined_shape(tensors, 0)[0][0]
    if total > torch.iinfo(torch.int32).max:
        raise ValueError(f"arrays: expected tokens that int32 can count, got {total}.")
    rows = _rows([len(tensor) for tensor in tensors], max_tokens, strategy)
    order = [index for row in rows for index in row]
    lengths = [len(tensors[index]) for index in order]
    joined = jagged(
        [tensors[index] for index in order] or tensors,
        dtype=promoted_dtype(tensors) if dtype is None else dtype,
        pin_memory=pin_memory,
    )
    positions = torch.cat([torch.arange(n) for n in [0, *lengths]])
    begins = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    row_lengths = [sum(len(tensors[index]) for index in row) for row in rows]
    return Packed(
        on_device(joined.values, target, stream),
        on_device(positions.pin_memory() if pin_memory else positions, target, stream),
        on_device(begins, target, stream),
        torch.tensor(order, dtype=torch.int64),
        torch.tensor([0, *row_lengths]).cumsum(0),
    )


def _rows(lengths: list[int], max_tokens: int, strategy: str) -> list[list[int]]:
    filled = [index for index, length in enumerate(lengths) if length > 0]
    if strategy == "sequential":
        rows: list[list[int]] = []
        for index in filled:
            if not rows or sum(lengths[i] for i in rows[-1]) + lengths[index] > max_tokens:
                rows.append([])
            rows[-1].append(index)
        return rows
    by_age: list[list[int]] = []  # the row that was changed last is the last one
    rows = []
    for index in sorted(filled, key=lambda i: -lengths[i]):
        rooms = [max_tokens - sum(lengths[i] for i in row) for row in by_age]
        enough = [room for room in rooms if room >= lengths[index]]
        if enough:
            row = by_age.pop(rooms.index(min(enough)))
        else:
            rows.append(row := [])
        row.append(index)
        by_age.append(row)
    return rows


def check_strategy(strategy: Any) -> None:
    expected = 'strategy: expected "first_fit_decreasing" or "sequential", got '
    if not isinstance(strategy, str):
        raise TypeError(f"{expected}{strategy!r}.")
    if strategy not in ("first_fit_decreasing", "sequential"):
        raise ValueError(f"{expected}{strategy!r}.")
