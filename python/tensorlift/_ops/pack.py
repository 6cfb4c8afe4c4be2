"""Rows of whole sequences, for training without padding."""

from __future__ import annotations

from typing import NamedTuple

import torch

from .. import _C
from .._typing import Device, PackStrategy, Ragged, Side


class Packed(NamedTuple):
    """What :func:`pack` returns.

    Attributes:
        tokens: [total, ...]: all rows, one after another. Row r is
            ``tokens[row_offsets[r]:row_offsets[r + 1]]``.
        position_ids: int64 [total]: where in its sequence each token stands, from 0.
        cu_seqlens: int32 [sequences + 1]: where each sequence begins, and the end.
        sequences: int64 [sequences]: which of the arrays each sequence is. In the host's memory.
        row_offsets: int64 [rows + 1]: where each row begins, and the end. In the host's memory.
    """

    tokens: torch.Tensor
    position_ids: torch.Tensor
    cu_seqlens: torch.Tensor
    sequences: torch.Tensor
    row_offsets: torch.Tensor

    @property
    def max_length(self) -> int:
        """The longest sequence's length. On a device it has to be waited for."""
        lengths = self.cu_seqlens.diff()
        return int(lengths.max()) if len(lengths) else 0

    def unbind(self) -> list[Packed]:
        """One for each row: views of the tokens, with offsets of their own, which begin at 0.

        Example:
            >>> import tensorlift
            >>> for row in tensorlift.pack([[1, 2, 3], [4], [5, 6]], max_tokens=4).unbind():
            ...     print(row.tokens.tolist(), row.cu_seqlens.tolist(), row.sequences.tolist())
            [1, 2, 3, 4] [0, 3, 4] [0, 1]
            [5, 6] [0, 2] [2]
        """
        begins = torch.searchsorted(self.cu_seqlens.cpu(), self.row_offsets.int()).tolist()
        offsets = self.row_offsets.tolist()
        return [
            Packed(
                self.tokens[offsets[row] : offsets[row + 1]],
                self.position_ids[offsets[row] : offsets[row + 1]],
                self.cu_seqlens[begins[row] : begins[row + 1] + 1] - offsets[row],
                self.sequences[begins[row] : begins[row + 1]],
                self.row_offsets[row : row + 2] - offsets[row],
            )
            for row in range(len(offsets) - 1)
        ]


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
    """Fills rows of `max_tokens` with whole sequences, for training without padding.

    Attention within a row has to stop where a sequence ends, which `cu_seqlens` and `position_ids`
    say. Lists whose sequences have the same lengths, such as tokens and labels, are packed alike.
    Every element is copied exactly once.

    Args:
        arrays: as for :func:`jagged`: sequences of shapes (length, ...). Empty ones are left out.
        max_tokens: how long a row may be.
        strategy: "first_fit_decreasing" takes the longest sequences first, and puts each into the
            row with the least room that is enough, or into a new one. These are the rows of TRL's
            strategy `ffd`, which it calls `bfd` (best fit) now. "sequential" keeps the order: a row
            ends where the next sequence does not fit.
        truncate: what becomes of sequences that are longer than a row: "right" drops their last
            elements, "left" the first ones. None refuses them.
        dtype: as for :func:`stack`.
        pin_memory: as for :func:`stack`, for tokens and position ids.
        device: as for :func:`stack`, for tokens, position ids and `cu_seqlens`.
        non_blocking: as for :func:`stack`.
        stream: as for :func:`stack`.
        threads: as for :func:`stack`.

    Returns:
        The named tuple (tokens, position_ids, cu_seqlens, sequences, row_offsets).

    Raises:
        TypeError: as for :func:`stack`.
        ValueError: as for :func:`jagged`; a sequence is longer than `max_tokens`; there are more
            tokens than int32 can count.
        RuntimeError: as for :func:`stack`.

    Example:
        >>> import tensorlift
        >>> packed = tensorlift.pack([[1, 2], [3], [4, 5, 6]], max_tokens=4)
        >>> packed.tokens, packed.position_ids
        (tensor([4, 5, 6, 3, 1, 2]), tensor([0, 1, 2, 0, 0, 1]))
        >>> packed.sequences, packed.cu_seqlens.tolist(), packed.row_offsets
        (tensor([2, 1, 0]), [0, 3, 4, 6], tensor([0, 4, 6]))
    """
    return Packed(
        *_C.pack(
            arrays,
            max_tokens,
            strategy,
            truncate,
            dtype,
            pin_memory,
            device,
            non_blocking,
            stream,
            threads,
        )
    )
