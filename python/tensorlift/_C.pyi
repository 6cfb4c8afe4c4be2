"""The native module; see csrc/bindings.cpp. Use the functions of the package instead."""

from typing import Any, Literal

import numpy as np
import torch

built_for_torch: str

def from_numpy(
    arrays: object, dtype: object, copy: object, readonly: object, threads: object
) -> list[torch.Tensor]: ...
def explain(
    arrays: object, dtype: object, copy: object, readonly: object
) -> list[
    tuple[
        Literal["shared", "copied", "rejected"],
        str,
        tuple[int, ...] | None,
        np.dtype[Any] | None,
        torch.dtype | None,
        int,
        str | None,
    ]
]: ...
def empty_cache() -> None: ...
def cached_bytes() -> int: ...
def default_threads() -> int: ...
