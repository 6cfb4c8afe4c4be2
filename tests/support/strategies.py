"""Arrays as hypothesis makes them up: every dtype, layout and kind that a list may hold."""

import tempfile

import ml_dtypes
import numpy as np
import torch
from hypothesis import strategies as st

from support.inputs import ML_DTYPES_IN_TORCH, misaligned, odd_strides, read_only

DTYPES = [
    *("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", "Q"),
    *(getattr(ml_dtypes, name) for name in ML_DTYPES_IN_TORCH),
    *("M8[s]", "m8[us]", "g", "U3", "S2", "V4", object, [("x", "f4")], ml_dtypes.int4),
]
TARGETS = [torch.bool, torch.uint8, torch.int32, torch.int64, torch.float16, torch.bfloat16]
TARGETS += [torch.float32, torch.float64, torch.complex64]


class Subclass(np.ndarray):
    pass


def swapped(array: np.ndarray) -> np.ndarray:
    if array.dtype.type.__name__ == "complex32":
        raw = np.ascontiguousarray(array)
        raw = raw.reshape(-1).view(np.uint16).byteswap()
        return raw.view(array.dtype.newbyteorder(">")).reshape(array.shape)
    return array.astype(array.dtype.newbyteorder(">"))


def memory_mapped(array: np.ndarray) -> np.ndarray:
    if array.size == 0 or array.dtype.hasobject:
        return array
    with tempfile.TemporaryFile() as file:
        file.write(np.ascontiguousarray(array).tobytes())
        file.flush()
        return np.memmap(file, array.dtype, "r", shape=array.shape)


def far_size_1_stride(array: np.ndarray, stride: int) -> np.ndarray:
    strides = [stride if n <= 1 else s for n, s in zip(array.shape, array.strides, strict=True)]
    opaque = np.asarray(array).view(f"V{array.itemsize}")  # as_strided does not know every dtype
    return np.lib.stride_tricks.as_strided(opaque, array.shape, strides).view(array.dtype)


def no_objects(change):
    """Raw bytes of Python objects cannot be moved about."""
    return lambda a: a if a.dtype.hasobject else change(a)


CHANGES = {
    "transpose": lambda a: a.T,
    "reverse": lambda a: a[::-1] if a.ndim else a,
    "reverse last": lambda a: a[..., ::-1] if a.ndim else a,
    "step": lambda a: a[..., ::2] if a.ndim else a,
    "drop first": lambda a: a[1:] if a.ndim else a,
    "column": lambda a: a[..., 0] if a.ndim and a.shape[-1] else a,
    "new axis": lambda a: a[None] if a.ndim < 6 else a,
    "broadcast": lambda a: np.broadcast_to(a, (2, *a.shape)) if a.ndim < 6 else a,
    "fortran": np.asfortranarray,
    "swapped": no_objects(swapped),
    "misaligned": no_objects(misaligned),
    "odd strides": no_objects(odd_strides),
    "read-only": read_only,
    "subclass": lambda a: a.view(Subclass),
    "recarray": lambda a: a if a.dtype.names else a.view(np.recarray),
    "memmap": no_objects(memory_mapped),
    "masked, none": lambda a: np.ma.masked_array(a),
    "masked, first": lambda a: np.ma.masked_array(a, np.arange(a.size).reshape(a.shape) == 0),
    "far stride": no_objects(lambda a: far_size_1_stride(a, 4096)),
    "negative size-1 stride": no_objects(lambda a: far_size_1_stride(a, -8)),
    "odd size-1 stride": no_objects(lambda a: far_size_1_stride(a, 3)),
}


shapes = st.lists(st.integers(0, 4), max_size=5).map(tuple)


@st.composite
def arrays(draw, shapes=shapes, dtypes=DTYPES, changes=CHANGES):
    shape = draw(shapes)
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    seed = draw(st.integers(0, 99))
    values = np.random.default_rng(seed).integers(0, 100, size=shape)
    array = values.astype(dtype) if dtype.names is None else np.zeros(shape, dtype)
    for name in draw(st.lists(st.sampled_from(sorted(changes)), max_size=3)):
        array = changes[name](array)
    return array
