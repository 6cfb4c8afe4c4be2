"""Memory that is kept for the next call."""

from __future__ import annotations

from . import _C


def empty_cache() -> None:
    """Gives unused memory that tensorlift keeps for reuse back to the system.

    The memory of a large copied tensor (16 KiB and more) is kept when the tensor dies, at most
    64 MiB a process, because fresh memory costs a page fault every 4 KiB. Tensors that are alive
    are not affected, nor is memory that is shared with arrays.

    Example:
        >>> import tensorlift
        >>> tensorlift.empty_cache()
    """
    _C.empty_cache()
