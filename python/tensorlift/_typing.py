"""Names for the types in public signatures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Arrays: TypeAlias = Iterable[npt.NDArray[Any] | np.generic]
Readonly: TypeAlias = Literal["warn", "share", "copy", "error"]
Action: TypeAlias = Literal["shared", "copied", "rejected"]
