"""Arrays as users have them, and what is the same."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import torch

# ml_dtypes' types that torch has as well, as far as the installed version has them.
ML_DTYPES_IN_TORCH = [
    name
    for name in (
        *("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"),
        *("float8_e8m0fnu", "complex32"),
    )
    if hasattr(ml_dtypes, name)
]


def misaligned(array: np.ndarray) -> np.ndarray:
    """The same values one byte off the alignment of their dtype."""
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def odd_strides(array: np.ndarray) -> np.ndarray:
    """The same values as a field of packed records: strides no multiple of the itemsize."""
    records = np.zeros(array.shape, dtype=np.dtype([("pad", "u1"), ("value", array.dtype)]))
    records["value"] = array
    return records["value"]


def read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal to the last bit, NaN included."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    fresh = (t.clone(memory_format=torch.contiguous_format).reshape(-1) for t in (a, b))
    return torch.equal(*(t.view(torch.uint8) for t in fresh))
