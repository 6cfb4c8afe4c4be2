"""Names for the types in public signatures."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from mmap import mmap
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch


class _ByArray(Protocol):
    def __array__(self) -> npt.NDArray[Any]: ...


class _ByArrayInterface(Protocol):
    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class _ByDlpack(Protocol):
    def __dlpack_device__(self) -> tuple[int, int]: ...


if TYPE_CHECKING:
    _Array: TypeAlias = array[Any]
else:  # before Python 3.12 it has no parameters at run time
    _Array = array

# Python before 3.12 has no type for all that has the buffer protocol.
_Memory: TypeAlias = (
    memoryview | bytearray | _Array | mmap | _ByArray | _ByArrayInterface | _ByDlpack
)
_Item: TypeAlias = npt.NDArray[Any] | np.generic | _Memory

Arrays: TypeAlias = Iterable[_Item]
ArraysOrTensors: TypeAlias = Iterable[_Item | torch.Tensor]
Ragged: TypeAlias = Iterable[_Item | torch.Tensor | Sequence[Any]]
Device: TypeAlias = torch.device | str | int
Number: TypeAlias = bool | int | float | complex | np.number[Any] | np.bool_
Readonly: TypeAlias = Literal["warn", "share", "copy", "error"]
ChannelOrder: TypeAlias = Literal["rgb", "bgr"]
PerChannel: TypeAlias = float | Sequence[float] | npt.NDArray[Any] | torch.Tensor
Side: TypeAlias = Literal["right", "left"]
PackStrategy: TypeAlias = Literal["first_fit_decreasing", "sequential"]
Operation: TypeAlias = Literal["from_numpy", "stack", "cat", "pad", "jagged"]
Action: TypeAlias = Literal["shared", "copied", "rejected"]
Way: TypeAlias = Literal["packed", "pinned", "plain"]
Place: TypeAlias = Literal["host", "device"]
