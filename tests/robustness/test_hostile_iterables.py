"""The list of arrays may lie, change, raise and be interrupted: an error, or an answer; no leak."""

from __future__ import annotations

import contextlib
import gc
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import tensorlift
from support import kinds


class Tracked(np.ndarray):
    """An array with weak references."""


def tracked(i: int = 0) -> np.ndarray:
    return np.arange(4.0).view(Tracked) + i


class WrongLength(list):
    def __init__(self, items: list[Any], says: int) -> None:
        super().__init__(items)
        self.says = says

    def __len__(self) -> int:
        return self.says


class Sequence:
    """Neither list nor tuple: what Python's old protocol makes of __getitem__."""

    def __init__(self, items: list[Any], says: int) -> None:
        self.items = items
        self.says = says

    def __len__(self) -> int:
        return self.says

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


@pytest.mark.parametrize("says", [0, 2, 9, sys.maxsize])
@pytest.mark.parametrize("lying", [WrongLength, Sequence])
def test_a_wrong_length(tl, lying, says):
    """What the iterator gives counts."""
    arrays = [tracked(i) for i in range(4)]
    if says == sys.maxsize:  # of a sequence it is a hint, which Python's list() believes
        with contextlib.suppress(MemoryError):
            assert len(tl.from_numpy(lying(arrays, says))) == 4
        return
    assert len(tl.from_numpy(lying(arrays, says))) == 4
    assert tl.stack(lying(arrays, says)).shape == (4, 4)


def test_a_negative_length(tl):
    with pytest.raises(ValueError, match="__len__"):
        tl.from_numpy(Sequence([tracked()], -1))


@pytest.mark.parametrize("position", range(5))
def test_an_item_that_raises(tl, position):
    arrays = [tracked(i) for i in range(5)]
    alive = [weakref.ref(a) for a in arrays]

    class Raising(Sequence):
        def __getitem__(self, index: int) -> Any:
            if index == position:
                raise OSError(f"item {index}")
            return super().__getitem__(index)

    for call in (tl.from_numpy, tl.stack, tl.cat, tl.pad, tl.jagged):
        with pytest.raises(OSError, match=f"item {position}"):
            call(Raising(arrays, 5))
    del arrays
    gc.collect()
    assert not any(ref() for ref in alive)


def test_a_list_that_shrinks_while_it_is_read(tl):
    arrays = [tracked(i) for i in range(6)]

    class Shrinking(list):
        def __iter__(self) -> Iterator[Any]:
            while self:
                yield self.pop()

    assert [t[0].item() for t in tl.from_numpy(Shrinking(arrays))] == [5, 4, 3, 2, 1, 0]
    assert tl.stack(Shrinking(arrays)).shape == (6, 4)


def test_a_list_that_grows_while_it_is_read(tl):
    arrays = [tracked(i) for i in range(3)]

    class Growing(list):
        def __iter__(self) -> Iterator[Any]:
            for i in range(200):
                self.append(tracked(i))
                yield self[i]

    assert len(tl.from_numpy(Growing(arrays))) == 200


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
def test_whatever_an_iterator_raises_arrives(tl, error):
    def raising() -> Iterator[Any]:
        yield tracked()
        raise error

    for call in (tl.from_numpy, tl.stack):
        with pytest.raises(error):
            call(raising())


def test_an_iterator_that_calls_us(tl):
    def nested(depth: int) -> Iterator[Any]:
        yield tracked(depth)
        if depth:
            yield tl.stack(nested(depth - 1)).sum(0).numpy()

    assert tl.stack(nested(20)).shape == (2, 4)


def test_an_iterator_without_end_is_interrupted():
    code = """
        import numpy, os, signal, threading, tensorlift
        # Whoever runs tests in the background may have made their children ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        started = threading.Event()
        def arrays():
            started.set()
            for _ in range(1 << 24):  # 128 MiB of references
                yield array
            raise SystemExit("not interrupted")
        array = numpy.zeros(1)
        def interrupt():
            started.wait()
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            tensorlift.from_numpy(arrays())
        except KeyboardInterrupt:
            print("interrupted")
    """
    assert run(code) == "interrupted\n"


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_interrupts_during_long_copies():
    """Each arrives, at the end of the call that it fell into, and nothing is lost."""
    arrays = [np.arange(1 << 20).view(Tracked)[::-1] for _ in range(8)]
    references = [sys.getrefcount(a) for a in arrays]
    stop = threading.Event()
    is_armed = False
    caught = 0

    def interrupt() -> None:
        while not stop.is_set():
            signal.raise_signal(signal.SIGUSR1)
            stop.wait(0.003)

    def handle(*_: object) -> None:
        nonlocal is_armed
        if is_armed:
            is_armed = False
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        deadline = time.monotonic() + 60
        while caught < 20:
            assert time.monotonic() < deadline, f"{caught} of 20 interrupts arrived"
            try:
                is_armed = True
                tensorlift.from_numpy(arrays, dtype=torch.float32, threads=2)
                is_armed = False
            except KeyboardInterrupt:
                caught += 1
    finally:
        stop.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    gc.collect()
    assert [sys.getrefcount(a) for a in arrays] == references


@pytest.mark.parametrize("kind", kinds.host_kinds(), ids=lambda kind: kind.name)
def test_a_bad_item_at_each_place(kind, steady_references):
    items = kind.items(6)
    for item in items:
        steady_references(item)
    expected = kind.call(items)
    for position in range(len(items)):
        kind.fail_at(items, position)
    assert kinds.same(kind.call(items), expected)
