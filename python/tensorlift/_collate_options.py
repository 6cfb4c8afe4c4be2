"""collate with options, as an object that pickles."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from . import _C
from ._collate import Destination, Way, collate_with
from ._collate_leaves import CollateFnMap
from ._shared import memory_for_batches
from ._tree import Path
from ._tree_convert import pin, send, send_plainly
from ._typing import Device, Number


@dataclass(frozen=True)
class Collate:
    """A `collate_fn` with options: :func:`tensorlift.collate`, but for the places that they name.

    A place is named by its last step: a key, the name of a field, an index; or by all of its steps
    as a tuple, ``("inputs", "image")``. Where no array stands at a place that is named, the first
    batch warns.

    Args:
        dtype: what arrays, NumPy scalars and tensors are cast to: one dtype for all, or a mapping
            from places to dtypes. Python numbers keep torch's.
        pad: places of different shapes that become a :class:`tensorlift.Padded` (batch, sizes): a
            mapping from places to the number that fills, or a collection of places (0).
        jagged: places of different lengths that become a :class:`tensorlift.Jagged`
            (values, offsets).
        channels_last: places of images of shape (height, width, channels) that become a batch
            (N, C, H, W) in ``torch.channels_last`` memory, without moving a byte more than a copy.
        pin_memory: whether all tensors of the batch are written to page-locked memory, packed.
        device: where all tensors of the batch are sent, in one transfer, ready on the current
            stream. Not in forked workers.
        collate_fn_map: as for :func:`tensorlift.collate`.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: a place has two ways, or `pin_memory` together with `device`.

    Example:
        >>> import numpy as np, tensorlift, torch
        >>> samples = [{"x": np.ones(2), "tokens": np.arange(n)} for n in (1, 3)]
        >>> batch = tensorlift.Collate(dtype={"x": torch.float32}, pad={"tokens": -1})(samples)
        >>> batch["x"].dtype, batch["tokens"].batch
        (torch.float32, tensor([[ 0, -1, -1],
                [ 0,  1,  2]]))
    """

    dtype: torch.dtype | Mapping[Any, torch.dtype] | None = None
    pad: Mapping[Any, Number] | Collection[Any] = ()
    jagged: Collection[Any] = ()
    channels_last: Collection[Any] = ()
    pin_memory: bool = False
    device: Device | None = None
    collate_fn_map: CollateFnMap | None = None

    def __post_init__(self) -> None:
        """Refuses contradictions before a worker meets them."""
        for name in ("pad", "jagged", "channels_last"):
            places = getattr(self, name)
            if isinstance(places, (str, bytes)) or not isinstance(places, Collection):
                raise TypeError(f"{name}: expected a collection of places, got {places!r}.")
        dtypes = self.dtype.values() if isinstance(self.dtype, Mapping) else [self.dtype]
        for dtype in dtypes:
            if dtype is not None and not isinstance(dtype, torch.dtype):
                got = repr(dtype) if isinstance(dtype, (str, type)) else type(dtype).__name__
                raise TypeError(
                    "dtype: expected a torch.dtype, a mapping from places to those, or None, got "
                    f"{got}. Pass for instance torch.float32."
                )
        ways = [*self.pad, *self.jagged, *self.channels_last]
        twice = next((place for place in ways if ways.count(place) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r}: expected one of pad, jagged and channels_last, got two.")
        if self.pin_memory and self.device is not None:
            raise ValueError("pin_memory: expected False with device=, got True.")
        if isinstance(self.device, str):  # an index would ask for the accelerator
            _C.check_device_name(self.device)

    def __call__(self, samples: Sequence[Any]) -> Any:
        """The batch."""
        is_sent = self.device is not None and _C.can_send_to(self.device)
        device = None if self.device is None else torch.device(self.device)
        memory = "pinned" if self.pin_memory else memory_for_batches()
        destination = Destination(memory, device if is_sent else None)
        used: set[Any] = set()
        way_for = partial(self._way_for, used)
        batch = collate_with(samples, self.collate_fn_map, way_for, destination)
        self._warn_once(used)
        if device is not None and device.type != "cpu":
            return send(batch, device, None, None) if is_sent else send_plainly(batch, device)
        return pin(batch) if self.pin_memory else batch

    def _warn_once(self, used: set[Any]) -> None:
        """Of places at which the first batch has no array: a slip of the pen, most likely."""
        if self.__dict__.get("_has_looked"):
            return
        object.__setattr__(self, "_has_looked", True)
        dtypes = self.dtype if isinstance(self.dtype, Mapping) else ()
        named = [*self.pad, *self.jagged, *self.channels_last, *dtypes]
        for place in dict.fromkeys(place for place in named if place not in used):
            warnings.warn(
                f"Collate: expected arrays, NumPy scalars or tensors at the place {place!r}, got "
                "none there in the first batch. Is it misspelt? (Python numbers have no options.)",
                UserWarning,
                stacklevel=3,
            )

    def _way_for(self, used: set[Any], path: Path) -> Way | None:
        names = _names_of(path)
        used.update(names)
        dtype = self._dtype_for(names)
        place = _find(names, self.pad)
        if place is not None:
            value = self.pad[place] if isinstance(self.pad, Mapping) else 0
            return Way("pad", dtype, value)
        if _find(names, self.jagged) is not None:
            return Way("jagged", dtype)
        if _find(names, self.channels_last) is not None:
            return Way("stack", dtype, channel_dim=-1, memory_format=torch.channels_last)
        return None if dtype is None else Way("stack", dtype)

    def _dtype_for(self, names: list[Any]) -> torch.dtype | None:
        if not isinstance(self.dtype, Mapping):
            return self.dtype
        place = _find(names, self.dtype)
        return None if place is None else self.dtype[place]


def _names_of(path: Path) -> list[Any]:
    """The names that a place has: all of its steps; the last one."""
    steps = tuple(step.removeprefix(".") if isinstance(step, str) else step for step in path)
    return [steps, steps[-1]] if steps else [steps]


def _find(names: list[Any], places: Collection[Any]) -> Any:
    """The name that stands among places; None if none does."""
    return next((name for name in names if name in places), None)
