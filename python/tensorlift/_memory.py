"""Memory that is kept for the next call, and page-locked memory."""

from __future__ import annotations

from typing import Any, NamedTuple, SupportsIndex

import numpy.typing as npt

from . import _C


def empty_cache() -> None:
    """Gives unused memory that tensorlift keeps for reuse back to the system.

    The memory of a copied tensor or batch of 16 KiB to 64 MiB is kept when the tensor dies, at most
    64 MiB a process, because fresh memory costs a page fault every 4 KiB. Larger ones are given
    back at once. So are page-locked staging buffers that no copy reads from any more (torch's own
    allocator may keep them), and shared memory of batches that no tensor uses any more: that of
    this process, where it is a data loader's worker, and that of workers, of which up to 256 MiB
    stay mapped. Tensors that are alive are not affected, nor is memory that is shared
    with arrays.

    Example:
        >>> import tensorlift
        >>> tensorlift.empty_cache()
    """
    _C.empty_cache()


def empty_pinned(
    shape: SupportsIndex | tuple[SupportsIndex, ...], dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """An array in page-locked memory, not filled: what decoders can write to.

    From such an array the accelerator reads without the host's help. :func:`tensorlift.from_numpy`
    without `device` shares it, or a part of it, with a tensor that torch knows to be pinned; with
    `device` and ``non_blocking=False`` it sends arrays that get memory of their own (those of 1 MiB
    and more, or all with ``pack=False``) from where they are, without staging. (With
    ``non_blocking=True`` the arrays may be changed at once, so they are staged.)

    Args:
        shape: an int or a tuple of ints.
        dtype: of NumPy, of plain numbers.

    Returns:
        A writeable, contiguous array. Its memory goes back to torch's allocator when the array, its
        views and all tensors that share it are gone, and copies that read from it have run.

    Raises:
        TypeError: `shape` or `dtype` is no such thing.
        ValueError: there is no accelerator that torch can use, or a size is negative.
        RuntimeError: torch cannot allocate the memory; in a forked child of a process that used
            the accelerator.
    """
    return _C.empty_pinned(shape, dtype)


class Staging(NamedTuple):
    """What :func:`staging` returns.

    Attributes:
        chunk_bytes: of a staging buffer, which is also what is sent at once.
        buffers: how many a device has at most.
        threads: that fill a buffer; 0 for as many as torch uses.
    """

    chunk_bytes: int
    buffers: int
    threads: int


def staging(
    *,
    chunk_bytes: int | None = None,
    buffers: int | None = None,
    threads: int | None = None,
) -> Staging:
    """Sets how arrays are sent to accelerators, and says how it is set now.

    Staging memory is page-locked when it is first needed, `buffers` times `chunk_bytes` for each
    device, and kept; :func:`tensorlift.empty_cache` gives it back. (What cannot be cut, such as one
    padded slot, takes a buffer as large as itself, one of that number.) Where all buffers are on
    their way a call waits for one. A change holds for calls that begin later.

    Args:
        chunk_bytes: of a buffer, at least 4 KiB; rounded up to whole pages of 4 KiB.
        buffers: for each device; two are enough to fill one while another is sent.
        threads: how many threads fill a buffer where a call does not say (`threads=`); 0 for as
            many as torch uses, which in a data loader's pin-memory thread is 1.

    Returns:
        The settings from now on. None leaves one as it is.

    Raises:
        TypeError: an option is no int.
        ValueError: an option is out of range. Nothing is changed then.

    Example:
        >>> import tensorlift
        >>> tensorlift.staging()
        Staging(chunk_bytes=4194304, buffers=3, threads=0)
    """
    _C.set_staging(chunk_bytes, buffers, threads)
    return Staging(*_C.staging())
