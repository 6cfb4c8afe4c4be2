"""Names for the types in public signatures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

Arrays: TypeAlias = Iterable[npt.NDArray[Any] | np.generic]
ArraysOrTensors: TypeAlias = Iterable[npt.NDArray[Any] | np.generic | torch.Tensor]
Ragged: TypeAlias = Iterable[npt.NDArray[Any] | np.generic | torch.Tensor | Sequence[Any]]
Device: TypeAlias = torch.device | str | int
Number: TypeAlias = bool | int | float | complex | np.number[Any] | np.bool_
Readonly: TypeAlias = Literal["warn", "share", "copy", "error"]
Side: TypeAlias = Literal["right", "left"]
Operation: TypeAlias = Literal["from_numpy", "stack", "cat", "pad", "jagged"]
Action: TypeAlias = Literal["shared", "copied", "rejected"]
