"""Threads that begin together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

HANGS_AFTER_S = 120


def in_threads(*targets: Callable[[], Any]) -> None:
    """Starts all at once; re-raises what one of them raised."""
    barrier = threading.Barrier(len(targets))
    errors: list[BaseException] = []

    def guarded(target: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            target()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(t,)) for t in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANGS_AFTER_S)
        assert not thread.is_alive(), "deadlock"
    if errors:
        raise errors[0]


def while_another(change: Callable[[], Any], *targets: Callable[[], Any]) -> None:
    """in_threads(*targets), while one more thread calls change() again and again."""
    stop = threading.Event()
    left = [len(targets)]
    lock = threading.Lock()

    def counted(target: Callable[[], Any]) -> None:
        try:
            target()
        finally:
            with lock:
                left[0] -= 1
                if left[0] == 0:
                    stop.set()

    def changes() -> None:
        while not stop.is_set():
            change()

    in_threads(changes, *[lambda t=target: counted(t) for target in targets])  # type: ignore[misc]
