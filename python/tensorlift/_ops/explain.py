"""What an operation would do with every array, and why."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch

from .. import _C
from .._typing import (
    ChannelOrder,
    Device,
    Number,
    Operation,
    PackStrategy,
    PerChannel,
    Ragged,
    Readonly,
    Side,
)
from .explanation import Entry, Explanation, Transfer


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
    padding_value: Number = 0,
    mask: bool | torch.dtype = False,
    mask_dim: int | Sequence[int] | None = None,
    offsets_dtype: torch.dtype = torch.int64,
    memory_format: torch.memory_format | None = None,
    device: Device | None = None,
    non_blocking: bool = True,
    pack: bool = True,
) -> Explanation:
    """Says what an operation would do with every array, and why, without doing it.

    Options that an operation does not have are ignored; those that are not here (`out`,
    `padding_side`, ...) change nothing of what happens to the arrays. Nothing is sent.

    Args:
        arrays: as for the operation; what that would refuse is an entry here, not an error.
        operation: "from_numpy", "stack", "cat", "pad", "jagged" or "pack".
        dtype: as for the operation.
        copy: as for :func:`from_numpy`; the others copy always.
        readonly: as for :func:`from_numpy`; the others only read.
        dim: as for :func:`stack` and :func:`cat`.
        channel_dim: as for :func:`stack`, :func:`cat` and :func:`pad`.
        channel_order: as for :func:`stack` and :func:`pad`.
        scale: as for :func:`stack` and :func:`pad`.
        mean: as for :func:`stack` and :func:`pad`.
        std: as for :func:`stack` and :func:`pad`.
        pad_to_multiple_of: as for :func:`pad`.
        max_length: as for :func:`pad`.
        truncate: as for :func:`pad` and :func:`pack`.
        max_tokens: as for :func:`pack`, which needs it.
        strategy: as for :func:`pack`.
        padding_value: as for :func:`pad`.
        mask: as for :func:`pad`.
        mask_dim: as for :func:`pad`.
        offsets_dtype: as for :func:`jagged`.
        memory_format: as for :func:`stack`, :func:`cat` and :func:`pad`.
        device: as for the operation; then the answer says how the arrays would get there, with the
            staging memory as it is set: :attr:`Entry.sent`, :attr:`Entry.cast_on` and
            :attr:`Explanation.transfer`.
        non_blocking: as for :func:`from_numpy`.
        pack: as for :func:`from_numpy`.

    Returns:
        One :class:`Entry` per array, in order, and for a batch its shape and dtype (for
        :func:`pack` those of its tokens, and its rows); printing it shows a table.

    Raises:
        TypeError: `arrays` is no iterable of items, or an option is of the wrong type.
        ValueError: an option has a value that does not exist; torch cannot use the device.
        RuntimeError: `device` during a graph capture, or in a forked child.

    Example:
        >>> import numpy as np, tensorlift
        >>> print(tensorlift.explain([np.zeros((2, 3)), np.zeros((2, 3))[::-1]]))
        2 arrays: 1 shared (48 B), 1 copied (48 B)
        index  shape   dtype    action  reason           bytes
        -----  ------  -------  ------  ---------------  -----
            0  (2, 3)  float64  shared  same memory       48 B
            1  (2, 3)  float64  copied  negative stride   48 B
        >>> print(tensorlift.explain([np.zeros(2), np.zeros(2, np.uint8)], operation="stack"))
        2 arrays: 2 copied (32 B) into one torch.float64 tensor of shape (2, 2)
        index  shape  dtype             action  reason             bytes
        -----  -----  ----------------  ------  -----------------  -----
            0  (2,)   float64           copied  part of the batch   16 B
            1  (2,)   uint8 -> float64  copied  cast                16 B
    """
    if operation == "from_numpy":
        return _explain_from_numpy(arrays, dtype, copy, readonly, device, non_blocking, pack)
    if operation == "pack":
        answers, shape, result, error, transfer, rows = _C.explain_pack(
            arrays, max_tokens, strategy, truncate, dtype, device, non_blocking
        )
        entries = left_out(blame(_entries(answers), error))
    else:
        rows = None
        answers, shape, result, error, transfer = _C.explain_batch(
            arrays,
            operation,
            dim,
            padding_value,
            pad_to_multiple_of,
            max_length,
            truncate,
            mask,
            mask_dim,
            offsets_dtype,
            dtype,
            channel_dim,
            channel_order,
            scale,
            mean,
            std,
            memory_format,
            device,
            non_blocking,
        )
        entries = blame(_entries(answers), error)
    return Explanation(
        entries,
        shape=shape,
        dtype=result,
        error=error,
        rows=rows,
        transfer=None if transfer is None else Transfer(*transfer),
    )


def _explain_from_numpy(
    arrays: Ragged,
    dtype: torch.dtype | None,
    copy: bool | None,
    readonly: Readonly,
    device: Device | None,
    non_blocking: bool,
    pack: bool,
) -> Explanation:
    sent = None if device is None else _C.explain_sent(arrays, dtype, device, non_blocking, pack)
    if sent is None:
        return Explanation(_entries(_C.explain(arrays, dtype, copy, readonly)))
    if copy is False:
        raise ValueError(
            f'copy: expected None or True with device="{device}", got False: it always copies.'
        )
    answers, error, transfer = sent
    return Explanation(
        _entries(answers),
        error=error,
        transfer=None if transfer is None else Transfer(*transfer),
    )


def _entries(answers: Iterable[tuple[Any, ...]]) -> list[Entry]:
    return [Entry(index, *answer) for index, answer in enumerate(answers)]


def left_out(entries: list[Entry]) -> list[Entry]:
    """Says of empty sequences that they are in no row."""
    return [
        dataclasses.replace(entry, reason="empty, left out")
        if entry.action == "copied" and entry.nbytes == 0
        else entry
        for entry in entries
    ]


def blame(entries: list[Entry], error: str | None) -> list[Entry]:
    """Marks the array that an error of the whole batch names, such as one of another shape."""
    named = re.match(r"arrays\[(\d+)\]: ", error or "")
    if named is None or any(entry.action == "rejected" for entry in entries):
        return entries
    index = int(named[1])
    entries[index] = dataclasses.replace(
        entries[index],
        action="rejected",
        reason="does not fit the others",
        dtype_out=None,
        nbytes=0,
        error=error,
    )
    return entries
