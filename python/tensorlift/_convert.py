"""One tensor per array."""

from __future__ import annotations

import torch

from . import _C
from ._typing import Arrays, Readonly


def from_numpy(
    arrays: Arrays,
    /,
    *,
    dtype: torch.dtype | None = None,
    copy: bool | None = None,
    readonly: Readonly = "warn",
    threads: int | None = None,
) -> list[torch.Tensor]:
    """Converts a list of NumPy arrays to a list of CPU tensors.

    Zero-copy wherever :func:`torch.from_numpy` shares: such a tensor has the array's memory, dtype,
    shape and strides, keeps the array alive, and sees every later write to it. Where sharing is
    impossible (negative strides, strides that are no multiple of the itemsize, foreign byte order,
    misaligned data, another `dtype`, a NumPy scalar) the elements are copied, all arrays of the
    list in one multi-threaded pass, to contiguous tensors with memory of their own.

    Args:
        arrays: a sequence or iterable of :class:`numpy.ndarray`, of any shapes and dtypes; a NumPy
            scalar counts as a 0-d array. It is read once.
        dtype: dtype of the tensors. None keeps each array's own; datetime64 and timedelta64 need
            ``torch.int64``. A cast gives, bit for bit, what :meth:`torch.Tensor.to` gives; where
            torch's own loops differ (the payload of a NaN, a float outside an integer's range),
            one of its answers.
        copy: None copies only where sharing is impossible, True always, False never (the meaning of
            NumPy 2 and of the Python array API standard).
        readonly: what to do with a read-only array that would be shared. "warn" shares it and warns
            once per call, in torch's words, "share" shares it silently, "copy" copies it, "error"
            raises. Writing to a tensor over read-only memory is undefined behaviour.
        threads: how many threads may copy; None for as many as torch uses
            (:func:`torch.get_num_threads`).

    Returns:
        One tensor per array, in order; an empty list for an empty list.

    Raises:
        TypeError: an item is no array, or has a dtype without a torch counterpart (object, text,
            structured, longdouble), or masked values.
        ValueError: `copy` is False and an array needs a copy, or `readonly` is "error" and an array
            is read-only.
        RuntimeError: torch cannot allocate the memory for a copy.

    After an error nothing is held and nothing has been changed.

    Example:
        >>> import numpy as np, tensorlift
        >>> image = np.arange(6, dtype=np.uint8).reshape(2, 3)
        >>> shared, flipped = tensorlift.from_numpy([image, image[:, ::-1]])
        >>> image[0, 0] = 9
        >>> shared[0, 0], flipped[0, 2]
        (tensor(9, dtype=torch.uint8), tensor(0, dtype=torch.uint8))
    """
    return _C.from_numpy(arrays, dtype, copy, readonly, threads)
