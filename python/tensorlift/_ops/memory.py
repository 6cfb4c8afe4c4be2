"""Memory that is kept for the next call, and page-locked memory."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple, SupportsIndex

import numpy.typing as npt

from .. import _C
from . import registered_bytes as registered


def empty_cache() -> None:
    """Gives unused memory that tensorlift keeps for reuse back to the system.

    What is kept:

    - memory of copied tensors and batches of 16 KiB to 64 MiB that were freed, at most 64 MiB a
      process, because fresh memory costs a page fault every 4 KiB; larger ones are given back when
      they are freed;
    - page-locked staging buffers (torch's own allocator may keep those that are given back);
    - shared memory of data loaders: in a worker its own, in the main process up to 256 MiB of the
      workers', which stay mapped.

    Tensors that are alive are not affected, nor is memory that is shared with arrays.

    Example:
        >>> import tensorlift
        >>> tensorlift.empty_cache()
    """
    _C.empty_cache()


def empty_pinned(
    shape: SupportsIndex | tuple[SupportsIndex, ...], dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """An array in page-locked memory, not filled: what decoders can write to.

    :func:`tensorlift.from_numpy` without `device` shares such an array, or a part of it, with a
    tensor that torch knows to be pinned. With `device` and ``non_blocking=False`` it sends the
    array from where it is, without staging, if the tensor gets memory of its own: from 1 MiB on, or
    with ``pack=False``. (With ``non_blocking=True`` the array may be changed as soon as the call
    returns, so it is staged.)

    Args:
        shape: an int or a tuple of ints.
        dtype: of NumPy, of plain numbers.

    Returns:
        A writeable, contiguous array. Its memory goes back to torch's allocator when the array, its
        views and all tensors that share it are gone, and copies that read from it have run.

    Raises:
        TypeError: `shape` or `dtype` is of the wrong type.
        ValueError: there is no accelerator that torch can use, or a size is negative.
        RuntimeError: torch cannot allocate the memory; in a forked child of a process that used
            the accelerator.
    """
    return _C.empty_pinned(shape, dtype)


class Staging(NamedTuple):
    """How arrays are sent to accelerators: what :func:`staging` returns.

    Attributes:
        chunk_bytes: of a staging buffer, which is also what is sent at once.
        buffers: how many a device has at most.
        threads: that fill a buffer; 0 for as many as torch uses.
        registered_bytes: of workers' batches that are page-locked where they lie, at most.
    """

    chunk_bytes: int
    buffers: int
    threads: int
    registered_bytes: int


def staging() -> Staging:
    """Says how arrays are sent to accelerators; :func:`set_staging` changes it.

    Each device has up to `buffers` staging buffers of `chunk_bytes` in page-locked memory. They are
    allocated when they are first needed, and kept; :func:`tensorlift.empty_cache` gives them back.
    (What cannot be cut, such as one padded array, takes one buffer as large as itself.) While all
    buffers are being sent, a call waits for one.

    Batches that a data loader's workers have collated need no buffer: a
    :class:`tensorlift.DevicePrefetcher` registers the shared memory in which they lie with the
    device's runtime (``cudaHostRegister``), and sends tensors of 64 KiB and more from there, for as
    long as it is iterated. At most `registered_bytes` are registered at a time.

    Example:
        >>> import tensorlift
        >>> tensorlift.staging()
        Staging(chunk_bytes=4194304, buffers=3, threads=0, registered_bytes=1073741824)
    """
    return Staging(*_C.staging(), registered.limit())


def set_staging(
    *,
    chunk_bytes: int | None = None,
    buffers: int | None = None,
    threads: int | None = None,
    registered_bytes: int | None = None,
) -> Staging:
    """Sets how arrays are sent to accelerators, for calls that begin later.

    Args:
        chunk_bytes: of a buffer, at least 4 KiB; rounded up to whole pages of 4 KiB.
        buffers: for each device; two are enough to fill one while another is sent.
        threads: how many threads fill a buffer where a call does not say (`threads=`); 0 for as
            many as torch uses, which in a data loader's pin-memory thread is 1.
        registered_bytes: of workers' batches, for all iterations of the process; 0 registers none.

    Returns:
        The settings from now on. None leaves one as it is.

    Raises:
        TypeError: an option is no int.
        ValueError: an option is out of range. Nothing is changed then.

    Example:
        >>> import tensorlift
        >>> tensorlift.set_staging(chunk_bytes=4 << 20)
        Staging(chunk_bytes=4194304, buffers=3, threads=0, registered_bytes=1073741824)
    """
    if registered_bytes is not None:
        is_int = hasattr(registered_bytes, "__index__") and not isinstance(registered_bytes, bool)
        if not is_int:
            raise TypeError(f"registered_bytes: expected an int, got {registered_bytes!r}.")
        registered_bytes = operator.index(registered_bytes)
        if registered_bytes < 0:
            raise ValueError(f"registered_bytes: expected at least 0, got {registered_bytes}.")
    _C.set_staging(chunk_bytes, buffers, threads)
    if registered_bytes is not None:
        registered.set_limit(registered_bytes)
    return staging()
