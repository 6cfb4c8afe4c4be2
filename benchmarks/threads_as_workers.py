"""What threads gain on a free-threaded Python: collate on two; loaders with threads or processes.

    python benchmarks/threads_as_workers.py [--turns N]

Each line is the fastest of N turns; the ways of a table take turns. Results are compared first.
Memory is what the process and its workers hold beside what it held before the loader: the sum of
their proportional set sizes, the largest of those seen during an epoch, in a process of its own.
Runs on any Python on Linux, with torchdata or without, and says whether the GIL was on.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import platform
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, default_collate

import tensorlift

BATCH = 64
BATCHES = 100
CALLS = {8: 40_000, 32: 8_000}  # by the side of the images: a thread's start is nothing then

Way = Callable[[], Any]


class Samples:
    """Arrays of an image's size, made as they are asked for."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __len__(self) -> int:
        return BATCH * BATCHES

    def __getitem__(self, index: int) -> dict[str, Any]:
        shape = (3, self.side, self.side)
        return {"image": np.full(shape, index % 255, np.float32), "label": index}


def by_threads(dataset: Samples, threads: int = 2, ahead: int = 4) -> Iterator[Any]:
    """The recipe of the manual: batches in order, each read and collated by a thread."""

    def make(indices: list[int]) -> Any:
        return tensorlift.collate([dataset[i] for i in indices])

    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    waiting: deque[Future[Any]] = deque()
    try:
        for indices in BatchSampler(SequentialSampler(dataset), BATCH, drop_last=False):
            waiting.append(pool.submit(make, indices))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def by_nodes(dataset: Samples) -> Iterable[Any]:
    from torchdata import nodes

    indices = nodes.IterableWrapper(BatchSampler(SequentialSampler(dataset), BATCH, False))

    def make(batch: list[int]) -> Any:
        return tensorlift.collate([dataset[i] for i in batch])

    loader: Iterable[Any] = nodes.Loader(
        nodes.ParallelMapper(indices, make, num_workers=2, method="thread")
    )
    return loader


def by_processes(dataset: Samples, collate: Callable[[Any], Any]) -> Iterable[Any]:
    loader: Iterable[Any] = DataLoader(
        dataset, BATCH, num_workers=2, collate_fn=collate, multiprocessing_context="fork"
    )
    return loader


def loaders_of(data: Samples) -> dict[str, Callable[[], Iterable[Any]]]:
    """The ways to load them, by their names."""
    loaders: dict[str, Callable[[], Iterable[Any]]] = {
        "two processes, default_collate": partial(by_processes, data, default_collate),
        "two processes, tensorlift.collate": partial(by_processes, data, tensorlift.collate),
        "two threads, tensorlift.collate": partial(by_threads, data),
    }
    if importlib.util.find_spec("torchdata") is not None:
        loaders["ParallelMapper on two threads, tensorlift.collate"] = partial(by_nodes, data)
    return loaders


def on_threads(count: int, side: int) -> None:
    """So many threads collate all batches together, each its own samples."""
    barrier = threading.Barrier(count)

    def work() -> None:
        torch.set_num_threads(1)
        samples = [Samples(side)[i] for i in range(BATCH)]
        barrier.wait()
        for _ in range(CALLS[side] // count):
            tensorlift.collate(samples)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def whole_epoch(loader: Callable[[], Iterable[Any]]) -> None:
    deque(loader(), maxlen=0)


def first_batch(loader: Callable[[], Iterable[Any]]) -> None:
    next(iter(loader()))


def held_by(processes: Iterable[int]) -> int:
    """Bytes; what several of them share counts once."""
    texts = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in processes)
    lines = (line.split() for text in texts for line in text.splitlines())
    return sum(int(words[1]) << 10 for words in lines if words[0] == "Pss:")


def memory_of(name: str, side: int) -> int:
    """Bytes that a loader of that name takes, its workers included. In a fresh process."""
    loader = loaders_of(Samples(side))[name]
    tensorlift.collate([Samples(side)[0]])
    before = held_by([os.getpid()])
    most = 0
    for number, _batch in enumerate(loader()):
        if number % 10 == 5:
            workers = [child.pid for child in multiprocessing.active_children() if child.pid]
            most = max(most, held_by([os.getpid(), *workers]))
    return most - before


def in_a_fresh_process(name: str, side: int) -> int:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(memory_of, name, side).result()


def timed(ways: dict[str, Way], turns: int) -> dict[str, float]:
    """Seconds of each, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            if turn > 0:  # the first one warms up
                seconds[name].append(time.perf_counter() - begin)
    return {name: min(times) for name, times in seconds.items()}


def show(title: str, seconds: dict[str, float]) -> None:
    print(f"\n{title}")
    base = next(iter(seconds.values()))
    for name, time_ in seconds.items():
        print(f"  {name:52}{time_ * 1e3:10.2f} ms{base / time_:8.2f} ×")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    gil = "on" if getattr(sys, "_is_gil_enabled", lambda: True)() else "off"
    print(f"Python {platform.python_version()}, GIL {gil}, torch {torch.__version__}")

    small = [np.full(16, i, np.float32) for i in range(1000)]
    by_comprehension = [torch.from_numpy(a) for a in small]
    assert all(map(torch.equal, tensorlift.from_numpy(small), by_comprehension))
    ways: dict[str, Way] = {
        "[torch.from_numpy(a) for a in arrays]": lambda: [torch.from_numpy(a) for a in small],
        "tensorlift.from_numpy(arrays)": lambda: tensorlift.from_numpy(small),
    }
    show("1000 arrays of 16 float32", timed(ways, 20 * turns))

    for side in CALLS:
        threads = {f"{n} thread{'s' * (n > 1)}": partial(on_threads, n, side) for n in (1, 2)}
        show(
            f"{CALLS[side]} batches of {BATCH} arrays of (3, {side}, {side})", timed(threads, turns)
        )

    for side in CALLS:
        data = Samples(side)
        loaders = loaders_of(data)
        first = [next(iter(loader()))["image"] for loader in loaders.values()]
        assert all(torch.equal(image, first[0]) for image in first)
        epochs = {name: partial(whole_epoch, loader) for name, loader in loaders.items()}
        show(f"{BATCHES} batches of {BATCH} arrays of (3, {side}, {side})", timed(epochs, turns))
        begins = {name: partial(first_batch, loader) for name, loader in loaders.items()}
        show("the first batch", timed(begins, turns))
        print("\nmemory")
        for name in loaders:
            held = sorted(in_a_fresh_process(name, side) for _ in range(turns))
            print(f"  {name:52}{held[len(held) // 2] / 1e6:10.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
