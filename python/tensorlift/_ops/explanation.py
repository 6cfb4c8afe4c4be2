"""What `explain` returns: one entry per array, and totals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import torch

from .._text import format_bytes, format_table
from .._typing import Action, Place, Way

# A longer list is summarised by reason when it is printed.
_MAX_ROWS = 20
_MAX_ERRORS = 5


@dataclass(frozen=True)
class Entry:
    """What becomes of one array.

    Attributes:
        index: its position in the list.
        action: "shared", "copied" or "rejected".
        reason: why.
        shape: the array's shape; None for what is no array.
        dtype_in: the array's or tensor's dtype; None for what is neither.
        dtype_out: the tensor's dtype; None where there would be no tensor.
        nbytes: bytes of memory that the tensor's storage spans (shared) or that are written for it
            (copied).
        error: the message that the operation would raise for it; None where it would not.
        sent: how it gets to a device: "packed" with others into a staging buffer, "pinned" from
            where it lies in page-locked memory, "plain" by :meth:`torch.Tensor.to`; None where it
            does not, because it has no elements or there is no device.
        cast_on: where it is cast or normalized on its way: on the "host" while it is packed, so
            that the result's bytes are sent, or on the "device" after its own were; None where it
            is not.
    """

    index: int
    action: Action
    reason: str
    shape: tuple[int, ...] | None
    dtype_in: np.dtype[Any] | torch.dtype | None
    dtype_out: torch.dtype | None
    nbytes: int
    error: str | None = field(default=None, compare=False)
    sent: Way | None = None
    cast_on: Place | None = None


@dataclass(frozen=True)
class Transfer:
    """What is sent to a device, all arrays and what belongs to them (sizes, masks) together.

    Attributes:
        device: where to.
        windows: how often a staging buffer is filled: one is filled while others are on their way.
        copies: from the host to the device. A tensor with memory of its own takes one for each
            window that has some of it; packed ones share it.
        nbytes: what the copies send, with the gaps between packed tensors.
        casts: tensors, or packed ones together, that are cast or normalized on the device.
    """

    device: torch.device
    windows: int
    copies: int
    nbytes: int
    casts: int

    def __str__(self) -> str:
        copies = f"{self.copies} cop" + ("y" if self.copies == 1 else "ies")
        windows = f"{self.windows} window" + ("" if self.windows == 1 else "s")
        casts = f"; {self.casts} cast there" if self.casts else ""
        return f"to {self.device}: {copies} of {format_bytes(self.nbytes)}, {windows}{casts}"


def dtypes(entry: Entry) -> str:
    """`float32`, or `int32 -> float32` where the tensor's dtype has another name."""
    if entry.dtype_in is None:
        return ""
    name_in = str(entry.dtype_in).removeprefix("torch.")
    if entry.dtype_out is None:
        return name_in
    name_out = str(entry.dtype_out).removeprefix("torch.")
    return name_in if name_in == name_out else f"{name_in} -> {name_out}"


def shape(entry: Entry) -> str:
    """`(2, 3)`; empty for what is no array."""
    return "" if entry.shape is None else str(entry.shape)


def way(entry: Entry) -> str:
    """`packed, cast there`; empty for what is not sent."""
    if entry.sent is None:
        return ""
    cast = {None: "", "host": ", cast before", "device": ", cast there"}
    return entry.sent + cast[entry.cast_on]


class Explanation(Sequence[Entry]):
    """The entries of one list, in order. `str()` gives a table, a summary for a long list.

    Attributes:
        shape: of the batch; None where there is none.
        dtype: of the batch; None where there is none.
        error: the message that building the batch would raise; None where it would not.
        rows: of :func:`tensorlift.pack`: the indices of the arrays in each row; else None.
        transfer: to the device; None where there is none, or an error.
    """

    def __init__(
        self,
        entries: Iterable[Entry],
        *,
        shape: tuple[int, ...] | None = None,
        dtype: torch.dtype | None = None,
        error: str | None = None,
        rows: tuple[tuple[int, ...], ...] | None = None,
        transfer: Transfer | None = None,
    ) -> None:
        self._entries = tuple(entries)
        self.shape = shape
        self.dtype = dtype
        self.error = error
        self.rows = rows
        self.transfer = transfer

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Explanation: ...
    def __getitem__(self, index: int | slice) -> Entry | Explanation:
        if isinstance(index, slice):
            return Explanation(self._entries[index])
        return self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Explanation)
            and self._entries == other._entries
            and (self.shape, self.dtype, self.rows) == (other.shape, other.dtype, other.rows)
            and self.transfer == other.transfer
        )

    def __hash__(self) -> int:
        return hash(self._entries)

    @property
    def shared(self) -> int:
        """How many arrays are shared."""
        return self._count("shared")

    @property
    def copied(self) -> int:
        """How many arrays are copied."""
        return self._count("copied")

    @property
    def rejected(self) -> int:
        """How many arrays `from_numpy` would refuse."""
        return self._count("rejected")

    @property
    def nbytes_shared(self) -> int:
        """Bytes of memory that the shared tensors span."""
        return self._nbytes("shared")

    @property
    def nbytes_copied(self) -> int:
        """Bytes that are written for the copied tensors."""
        return self._nbytes("copied")

    def _count(self, action: Action) -> int:
        return sum(entry.action == action for entry in self._entries)

    def _nbytes(self, action: Action) -> int:
        return sum(entry.nbytes for entry in self._entries if entry.action == action)

    def _headline(self) -> str:
        arrays = f"{len(self)} array" + ("" if len(self) == 1 else "s")
        parts = []
        if self.shared:
            parts.append(f"{self.shared} shared ({format_bytes(self.nbytes_shared)})")
        if self.copied:
            parts.append(f"{self.copied} copied ({format_bytes(self.nbytes_copied)})")
        if self.rejected:
            parts.append(f"{self.rejected} rejected")
        batch = f" into one {self.dtype} tensor of shape {self.shape}" if self.shape else ""
        if self.rows is not None:
            batch += f", {len(self.rows)} row" + ("" if len(self.rows) == 1 else "s")
        return f"{arrays}: {', '.join(parts)}{batch}" if parts else arrays

    def _rows(self) -> str:
        header: tuple[str, ...] = ("index", "shape", "dtype", "action", "reason", "bytes")
        rows: list[tuple[str, ...]] = [
            (
                str(e.index),
                shape(e),
                dtypes(e),
                e.action,
                e.reason,
                "" if e.action == "rejected" else format_bytes(e.nbytes),
            )
            for e in self._entries
        ]
        if self.transfer is not None:
            header = (*header, "sent")
            rows = [(*row, way(e)) for row, e in zip(rows, self._entries, strict=True)]
        return format_table(header, rows, right=("index", "bytes"))

    def _summary(self) -> str:
        groups: dict[tuple[str, ...], list[Entry]] = {}
        for entry in self._entries:
            kind = (entry.action, entry.reason, way(entry))
            groups.setdefault(kind if self.transfer else kind[:2], []).append(entry)
        sent_header = () if self.transfer is None else ("sent",)
        counts_header = ("arrays", "bytes", "first", "its shape", "its dtype")
        header = ("action", "reason", *sent_header, *counts_header)
        rows = [
            (
                action,
                reason,
                *sent,
                str(len(entries)),
                "" if action == "rejected" else format_bytes(sum(e.nbytes for e in entries)),
                str(entries[0].index),
                shape(entries[0]),
                dtypes(entries[0]),
            )
            for (action, reason, *sent), entries in sorted(groups.items(), key=lambda g: -len(g[1]))
        ]
        return format_table(header, rows, right=("arrays", "bytes", "first"))

    def __str__(self) -> str:
        lines = [self._headline()]
        if self.transfer is not None:
            lines.append(str(self.transfer))
        if self._entries:
            lines.append(self._rows() if len(self) <= _MAX_ROWS else self._summary())
        errors = [entry.error for entry in self._entries if entry.error is not None]
        if not errors and self.error is not None:
            errors.append(self.error)
        lines += errors[:_MAX_ERRORS]
        if len(errors) > _MAX_ERRORS:
            lines.append(f"... and {len(errors) - _MAX_ERRORS} more like these")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Explanation of {self._headline()}>"
