"""One tensor per array."""

from __future__ import annotations

import torch

from .. import _C
from .._typing import Arrays, Device, Readonly


def from_numpy(
    arrays: Arrays,
    /,
    *,
    dtype: torch.dtype | None = None,
    device: Device | None = None,
    copy: bool | None = None,
    readonly: Readonly = "warn",
    pin_memory: bool = False,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    pack: bool = True,
    threads: int | None = None,
) -> list[torch.Tensor]:
    """Converts a list of NumPy arrays to a list of tensors.

    Zero-copy wherever :func:`torch.from_numpy` shares: such a tensor has the array's memory, dtype,
    shape and strides, keeps the array alive, and sees every later write to it. Where sharing is
    impossible (negative strides, strides that are no multiple of the itemsize, foreign byte order,
    misaligned data, another `dtype`, a NumPy scalar) the elements are copied to contiguous tensors
    with memory of their own, all arrays of the list in one multi-threaded pass.

    With `device` or `pin_memory` every array is copied. On an accelerator small tensors, those of
    less than 1 MiB, are packed: they are views of one common storage, which stays as long as any of
    them does, and is saved and sent to other processes with any of them. Larger tensors have memory
    of their own; with ``pack=False`` all have. The arrays are gathered into page-locked staging
    memory and sent from there in a few copies; one part is gathered while another is sent.

    Args:
        arrays: a sequence or iterable of :class:`numpy.ndarray`, of any shapes and dtypes; a NumPy
            scalar counts as a 0-d array. Objects with memory are arrays, too: those with the
            buffer protocol (but bytes, which may be text), with DLPack on the CPU,
            ``__array_interface__`` or ``__array__``. It is read once.
        dtype: dtype of the tensors. None keeps each array's own; datetime64 and timedelta64 need
            ``torch.int64``. A cast gives, bit for bit, what :meth:`torch.Tensor.to` gives; where
            torch's own loops differ (the payload of a NaN, a float outside an integer's range),
            one of its answers.
        device: where the tensors are to be; None or a CPU for the host's memory. A cast to a wider
            dtype is made there, by one kernel for each pair of dtypes; any other cast is made on
            the host, while the arrays are gathered.
        copy: None copies only where sharing is impossible, True always, False never (the meaning of
            NumPy 2 and of the Python array API standard).
        readonly: what to do with a read-only array that would be shared. "warn" shares it and warns
            once per call, in torch's words, "share" shares it silently, "copy" copies it, "error"
            raises. Writing to a tensor over read-only memory is undefined behaviour.
        pin_memory: whether the tensors' memory is page-locked, for transfers of your own.
        non_blocking: True returns as soon as everything was read. The arrays may be changed then,
            and the tensors may be used on the stream, which waits for the copies. With False the
            host waits for the copies as well, and large arrays of :func:`tensorlift.empty_pinned`
            are sent from where they are, without staging.
        stream: of `device`, on which the tensors are ready; None for the calling thread's current
            one. The copies run on a stream of their own, for which that one waits.
        pack: False gives each tensor on an accelerator memory of its own, as
            :meth:`torch.Tensor.to` does: an allocation and a copy for each.
        threads: how many threads may copy; None for as many as torch uses
            (:func:`torch.get_num_threads`).

    Returns:
        One tensor per array, in order; an empty list for an empty list.

    Raises:
        TypeError: an item is no array, or has a dtype without a torch counterpart (object, text,
            structured, longdouble), or masked values.
        ValueError: `copy` is False and an array needs a copy, or `readonly` is "error" and an array
            is read-only; torch cannot use `device`, or `stream` is one of another; no accelerator
            to pin memory for; `pin_memory` together with `device`.
        RuntimeError: torch cannot allocate the memory for a copy; `device` during a graph capture,
            or in a forked child of a process that used the accelerator.

    After an error nothing is held and nothing has been changed.

    Example:
        >>> import numpy as np, tensorlift
        >>> image = np.arange(6, dtype=np.uint8).reshape(2, 3)
        >>> shared, flipped = tensorlift.from_numpy([image, image[:, ::-1]])
        >>> image[0, 0] = 9
        >>> shared[0, 0], flipped[0, 2]
        (tensor(9, dtype=torch.uint8), tensor(0, dtype=torch.uint8))
    """
    return _C.from_numpy(
        arrays, dtype, device, copy, readonly, pin_memory, non_blocking, stream, pack, threads
    )
