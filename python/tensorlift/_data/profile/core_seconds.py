"""How long a core was needed: what a machine that does other work besides does not change."""

from __future__ import annotations

import os
import time

_IN_LINE = "/proc/thread-self/schedstat"  # "running waiting slices", the times in nanoseconds


def core_seconds() -> float:
    """Seconds of this process on cores, and of this thread in line for one.

    Where the system does not tell the second (not Linux, or a kernel without it) it counts as 0.
    """
    return time.process_time() + _in_line()


def _in_line() -> float:
    try:
        file = os.open(_IN_LINE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0.0
    try:
        return int(os.read(file, 100).split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
    finally:
        os.close(file)
