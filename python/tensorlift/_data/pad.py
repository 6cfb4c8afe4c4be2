"""How a place of samples is padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch

from .. import _C
from .._typing import Number, Side


@dataclass(frozen=True)
class Pad:
    """How :class:`tensorlift.Collate` pads a place: the options of :func:`tensorlift.pad`.

    Args:
        padding_value: as for :func:`tensorlift.pad`.
        padding_side: as for :func:`tensorlift.pad`.
        pad_to_multiple_of: as for :func:`tensorlift.pad`.
        max_length: as for :func:`tensorlift.pad`.
        truncate: as for :func:`tensorlift.pad`.
        mask: as for :func:`tensorlift.pad`; or a key, which puts the mask into the batch beside the
            padded place. It is of ``torch.bool`` unless the option `dtype` of
            :class:`tensorlift.Collate` names that key as well.
        mask_dim: as for :func:`tensorlift.pad`.
        sizes: True makes the place a :class:`tensorlift.Padded`; False makes it the padded tensor
            alone, as models take it.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an option has a value that does not exist; ``sizes=False`` with ``mask=True`` or
            a dtype, which leaves no place for the mask.

    Example:
        >>> import tensorlift
        >>> collate = tensorlift.Collate(
        ...     pad={
        ...         "input_ids": tensorlift.Pad(0, mask="attention_mask", sizes=False),
        ...         "labels": tensorlift.Pad(-100, sizes=False),
        ...     }
        ... )
        >>> collate([{"input_ids": [5, 6], "labels": [6, 7]}, {"input_ids": [8], "labels": [9]}])
        {'input_ids': tensor([[5, 6],
                [8, 0]]), 'labels': tensor([[   6,    7],
                [   9, -100]]), 'attention_mask': tensor([[ True,  True],
                [ True, False]])}
    """

    padding_value: Number = 0
    _: KW_ONLY
    padding_side: Side | Sequence[Side] = "right"
    pad_to_multiple_of: int | Sequence[int] | None = None
    max_length: int | Sequence[int | None] | None = None
    truncate: Side | None = None
    mask: bool | torch.dtype | str = False
    mask_dim: int | Sequence[int] | None = None
    sizes: bool = True

    def __post_init__(self) -> None:
        """Refuses what a batch would not take."""
        is_key = isinstance(self.mask, str)
        if not isinstance(self.mask, (bool, str, torch.dtype)):
            raise TypeError(
                "mask: expected True, False, a torch.dtype, or a key to put the mask under, got "
                f"{self.mask!r}."
            )
        _C.check_padding(*self._arguments(torch.bool if is_key else self.mask))
        if not isinstance(self.sizes, bool):
            raise TypeError(f"sizes: expected True or False, got {self.sizes!r}.")
        if not self.sizes and not is_key and self.mask is not False:
            raise ValueError(
                "sizes: expected True with mask=, which is then a part of the result, got False. "
                'Name a key to put the mask under, such as mask="attention_mask".'
            )
        for name in ("padding_side", "pad_to_multiple_of", "max_length", "mask_dim"):
            option = getattr(self, name)
            if isinstance(option, Sequence) and not isinstance(option, str):
                object.__setattr__(self, name, tuple(option))  # which has a hash

    def column_options(self, mask_dtype: torch.dtype) -> tuple[object, ...]:
        """As csrc/ops/columns.h has them: with a key `mask_dtype` is the mask's."""
        key = self.mask if isinstance(self.mask, str) else None
        mask = self.mask if key is None else mask_dtype
        return (*self._arguments(mask), key, self.sizes)

    def _arguments(self, mask: object) -> tuple[object, ...]:
        return (
            self.padding_value,
            self.padding_side,
            self.pad_to_multiple_of,
            self.max_length,
            self.truncate,
            mask,
            self.mask_dim,
        )
