"""Threads make all kinds of calls with the same lists, while those change and the process forks.

    python tests/robustness/stress_threads.py [--threads N] [--seconds S | --rounds N] [--seed S]

Each result is compared with the one that was computed before the threads began. One thread takes
items out of copies of the lists, and puts bad ones in; another one changes the keys of dicts and
the shapes of arrays that are there for it; every second the process forks, with all threads at
work, and the child makes every kind of call.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import random
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import tensorlift
from support import kinds

LIST = 20
HANGS_AFTER_S = 120


class Stress:
    """What the threads share."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        # While one thread collates as a worker does, the process is one: out= is refused there.
        self.kinds = [kind for kind in kinds.host_kinds() if kind.name != "collate, out="]
        self.items = {kind.name: kind.items(LIST) for kind in self.kinds}
        self.expected = {kind.name: kind.call(self.items[kind.name]) for kind in self.kinds}
        self.unsteady = {kind.name: list(self.items[kind.name]) for kind in self.kinds}
        self.changing = {kind.name: kind.items(LIST) for kind in self.kinds}
        self.references = self.count_references()  # those of the unsteady lists among them
        self.stop = threading.Event()
        self.calls = 0
        self.forks = 0
        self.findings: list[str] = []
        self.lock = threading.Lock()

    def count_references(self) -> list[int]:
        gc.collect()
        return [sys.getrefcount(item) for items in self.items.values() for item in items]

    def convert(self, number: int, rounds: int | None) -> None:
        """A thread: so many calls, or until told to stop."""
        rng = random.Random(f"{self.seed} {number}")
        calls = 0
        try:
            while not self.stop.is_set() and calls != rounds:
                kind = rng.choice(self.kinds)
                if (kind_of_items := rng.randrange(4)) < 2:
                    shared = self.changing if kind_of_items else self.unsteady
                    with contextlib.suppress(TypeError, ValueError, RuntimeError, LookupError):
                        kind.call(shared[kind.name])
                elif not kinds.same(kind.call(self.items[kind.name]), self.expected[kind.name]):
                    raise AssertionError(f"{kind.name}: a wrong answer")
                if rng.randrange(50) == 0:
                    tensorlift.empty_cache()
                calls += 1
        except BaseException:
            self.findings.append(traceback.format_exc())
            self.stop.set()
        with self.lock:
            self.calls += calls

    def unsettle(self) -> None:
        """A thread: changes lists that others convert."""
        rng = random.Random(self.seed)
        while not self.stop.is_set():
            kind = rng.choice(self.kinds)
            items = self.unsteady[kind.name]
            change = rng.randrange(4)
            if change == 0:
                items.clear()
            elif change == 1 and kind.bad is not None:
                items.insert(rng.randrange(len(items) + 1), kind.bad())
            else:
                items[:] = self.items[kind.name]
            time.sleep(0)

    def change(self) -> None:
        """A thread: changes items that others convert, and leaves them as they were."""
        rng = random.Random(self.seed)
        while not self.stop.is_set():
            item = rng.choice(self.changing[rng.choice(self.kinds).name])
            if isinstance(item, dict):
                keys = list(item)
                item["another"] = item.pop(keys[0])
                item[keys[0]] = item.pop("another")
                for key in keys[1:]:  # in their order again
                    item[key] = item.pop(key)
            elif type(item) is np.ndarray and item.flags.c_contiguous:
                shape = item.shape
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # NumPy 2.5's
                    item.shape = (item.size, 1)
                    item.shape = (1, 1, item.size)
                    item.shape = shape
            time.sleep(0)

    def fork(self) -> None:
        """A child with nobody but this thread makes every kind of call."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12's, about threads
            child = os.fork()
        if child == 0:
            status = 1
            try:
                good = (
                    kinds.same(kind.call(self.items[kind.name]), self.expected[kind.name])
                    for kind in self.kinds
                )
                status = 0 if all(good) else 2
            finally:
                os._exit(status)
        deadline = time.monotonic() + HANGS_AFTER_S
        while not (done := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(child, 9)
                os.waitpid(child, 0)
                self.findings.append("a forked child hangs")
                return
            time.sleep(0.01)
        self.forks += 1
        if done[1] != 0:
            self.findings.append(f"a forked child ended with {os.waitstatus_to_exitcode(done[1])}")

    def run(self, threads: int, seconds: float, rounds: int | None) -> None:
        workers = [
            threading.Thread(target=self.convert, args=(number, rounds))
            for number in range(threads)
        ]
        changers = [threading.Thread(target=change) for change in (self.unsettle, self.change)]
        for thread in [*workers, *changers]:
            thread.start()
        deadline = time.monotonic() + seconds
        while any(t.is_alive() for t in workers) and not self.stop.is_set():
            self.fork()
            self.stop.wait(1)
            if rounds is None and time.monotonic() > deadline:
                break
        if rounds is None:
            self.stop.set()
        for thread in workers:
            thread.join(HANGS_AFTER_S)
            if thread.is_alive():
                self.findings.append("a thread hangs")
        self.stop.set()
        for thread in changers:
            thread.join(HANGS_AFTER_S)
        for name, items in self.unsteady.items():
            items[:] = self.items[name]
        if self.count_references() != self.references:
            self.findings.append("references of items changed")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, help="calls of each thread, instead of a time")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    stress = Stress(arguments.seed)
    began = time.monotonic()
    stress.run(arguments.threads, arguments.seconds, arguments.rounds)
    print(
        f"{arguments.threads} threads, {stress.calls} calls, {stress.forks} forks, "
        f"{time.monotonic() - began:.0f} s: {len(stress.findings)} findings"
    )
    print(*stress.findings, sep="\n")
    return bool(stress.findings)


if __name__ == "__main__":
    sys.exit(main())
