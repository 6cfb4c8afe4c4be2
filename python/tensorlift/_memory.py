"""Memory that is kept for the next call."""

from __future__ import annotations

from . import _C


def empty_cache() -> None:
    """Gives unused memory that tensorlift keeps for reuse back to the system.

    The memory of a copied tensor or batch of 16 KiB to 64 MiB is kept when the tensor dies, at most
    64 MiB a process, because fresh memory costs a page fault every 4 KiB. Larger ones are given
    back at once. Tensors that are alive are not affected, nor is memory that is shared with arrays.

    Example:
        >>> import tensorlift
        >>> tensorlift.empty_cache()
    """
    _C.empty_cache()
