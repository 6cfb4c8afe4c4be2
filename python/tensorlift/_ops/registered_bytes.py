"""How much memory of others is registered with devices' runtimes, in this process."""

from __future__ import annotations

import threading

_lock = threading.Lock()
_limit = 1 << 30
_now = 0


def limit() -> int:
    """Bytes that may be registered at a time."""
    return _limit


def set_limit(nbytes: int) -> None:
    """For what is registered later."""
    global _limit
    _limit = nbytes


def now() -> int:
    """Bytes that are registered."""
    return _now


def add(nbytes: int) -> bool:
    """Counts them as registered, where that is within the limit."""
    global _now
    with _lock:
        if _now + nbytes > _limit:
            return False
        _now += nbytes
        return True


def remove(nbytes: int) -> None:
    """They are not registered any more."""
    global _now
    with _lock:
        _now -= nbytes
