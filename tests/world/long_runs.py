"""Loaders as they are used for days: what one process does in a minute, and what it holds then.

python long_runs.py [PART ...]

Every batch is looked at. Memory, descriptors and mappings of this process and of its workers must
be at the end what they were after the first rounds.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import multiprocessing
from torch.utils.data import DataLoader, Dataset

import tensorlift

SAMPLES = 30_000
EPOCHS = 50
MEBIBYTES = 1 << 20
# What may come on top: of bytes an allocator's reserves; of the others what happens to be open.
ALLOWED = {"bytes": 4 * MEBIBYTES, "descriptors": 4, "mappings": 40, "processes": 0}


class Rows(Dataset):
    """Row i is full of i."""

    def __init__(self, count: int = SAMPLES, size: int = 64) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.full(self.size, index, np.float32), index


def loader(count: int = SAMPLES, size: int = 64, **options: object) -> DataLoader:
    options = {"batch_size": 256, "num_workers": 2, "persistent_workers": True} | options
    options = {"collate_fn": tensorlift.collate, "multiprocessing_context": "fork"} | options
    return DataLoader(Rows(count, size), **options)


def look(batch: list[torch.Tensor]) -> None:
    x, index = batch
    assert torch.equal(x[:, 0], index.float())
    assert torch.equal(x[:, -1], index.float())


def held() -> dict[str, int]:
    """By this process and its children."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what glibc keeps differs by 16 MiB from round to round
    me = os.getpid()
    found = dict.fromkeys(ALLOWED, 0)
    for pid in [me, *map(int, children_of(me))]:
        folder = Path("/proc", str(pid))
        with contextlib.suppress(FileNotFoundError):
            status = dict(line.split(":", 1) for line in (folder / "status").open())
            if status["State"].strip().startswith("Z"):
                continue
            found["bytes"] += 1024 * sum(
                int(status[name].split()[0]) for name in ("RssAnon", "RssShmem")
            )
            found["descriptors"] += len(os.listdir(folder / "fd"))
            found["mappings"] += len((folder / "maps").read_text().splitlines())
            found["processes"] += 1
    return found


def children_of(pid: int) -> list[str]:
    tasks = Path("/proc", str(pid), "task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


def flat(rounds: int, at_first: int) -> Iterator[int]:
    """Counts, and compares what is held after the first rounds with what is held at the end."""
    for i in range(rounds):
        if i == at_first:
            before = held()
        yield i
    after = held()
    grown = {name: after[name] - before[name] for name in after}
    print(f"{before} and then {grown}")
    assert all(grown[name] <= ALLOWED[name] for name in grown), f"grew by {grown}"


def epochs() -> None:
    """The same workers all the time."""
    rows = loader(shuffle=True)
    for _ in flat(EPOCHS, at_first=5):
        seen = 0
        for batch in rows:
            look(batch)
            seen += len(batch[1])
        assert seen == SAMPLES


def kept() -> None:
    """Some batches of every epoch are kept for a while; they stay what they were."""
    rows = loader(size=512)
    kept: list[list[torch.Tensor]] = []
    for _ in flat(8, at_first=3):
        for number, batch in enumerate(rows):
            if number % 10 == 0:
                kept.append(batch)
        for batch in kept:
            look(batch)
        del kept[:-24], batch


def receive(batches: multiprocessing.Queue, sums: multiprocessing.Queue) -> None:
    """In another process."""
    while (batch := batches.get()) is not None:
        look(batch)
        sums.put(int(batch[1].sum()))


def sent_on() -> None:
    """To a process that is no worker, and back what it made of them."""
    context = multiprocessing.get_context("fork")
    batches, sums = context.Queue(4), context.Queue()
    rows = loader(count=10_000)
    other = context.Process(target=receive, args=(batches, sums))
    other.start()
    for _ in flat(10, at_first=3):
        total = 0
        for batch in rows:
            batches.put(batch)
        del batch
        for _ in range(len(rows)):
            total += sums.get(timeout=60)
        assert total == 10_000 * 9_999 // 2
    batches.put(None)
    other.join(60)
    assert other.exitcode == 0


def saved() -> None:
    """All batches of an epoch, which take the room that they take without us."""
    theirs = io.BytesIO()
    torch.save(list(DataLoader(Rows(size=512), batch_size=256)), theirs)
    rows = loader(size=512)
    for _ in flat(4, at_first=2):
        file = io.BytesIO()
        torch.save(list(rows), file)
        assert file.tell() == theirs.tell()
        file.seek(0)
        for batch in torch.load(file):
            look(batch)
        del batch, file


def left_early() -> None:
    """After one batch, again and again: workers that stay, and workers that do not."""
    for persistent in (True, False):
        rows = loader(persistent_workers=persistent)
        for _ in flat(40, at_first=10):
            for batch in rows:
                look(batch)
                break
            del batch


def interrupted() -> None:
    """Ctrl-C, which a terminal sends to the workers as well."""
    if os.getpgrp() != os.getpid():
        os.setpgrp()  # so that it reaches nobody else
    for i in flat(12, at_first=4):
        rows = loader()
        try:
            for number, batch in enumerate(rows):
                look(batch)
                if number == i:
                    os.killpg(0, signal.SIGINT)
                    time.sleep(10)
            raise AssertionError("was not interrupted")
        except KeyboardInterrupt:
            pass
        del rows, batch
        wait_for_no_children()


def worker_killed() -> None:
    """An error that says so; the next epoch, with new workers, is complete."""
    for i in flat(12, at_first=4):
        rows = loader(count=5_000, batch_size=50)
        try:
            for number, batch in enumerate(rows):
                look(batch)
                if number == i:
                    os.kill(rows._iterator._workers[i % 2].pid, signal.SIGKILL)
            raise AssertionError("nobody noticed")
        except RuntimeError as error:
            if "killed by signal" not in str(error) and "exited unexpectedly" not in str(error):
                raise
        del rows, batch
        assert (
            sum(len(index) for _, index in loader(count=5_000, persistent_workers=False)) == 5_000
        )
        wait_for_no_children()


def wait_for_no_children() -> None:
    gc.collect()
    deadline = time.monotonic() + 30
    while alive := multiprocessing.active_children():
        assert time.monotonic() < deadline, alive
        time.sleep(0.02)


def side_by_side() -> None:
    """Training, with a validation in the middle of each epoch, and batches of both at once."""
    training, validation = loader(shuffle=True), loader(count=3_000, size=8)
    for _ in flat(10, at_first=3):
        seen = 0
        for number, batch in enumerate(training):
            if number % 40 == 20:
                for other in validation:
                    look(other)
                    seen += len(other[1])
                    look(batch)
            look(batch)
        assert seen == 3 * 3_000
        del batch, other


PARTS: dict[str, Callable[[], None]] = {
    part.__name__: part
    for part in (epochs, kept, sent_on, saved, left_early, interrupted, worker_killed, side_by_side)
}


def main() -> None:
    torch.set_num_threads(1)  # two workers are enough for two cores
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell had it ignored
    for part in sys.argv[1:] or PARTS:
        begin = time.monotonic()
        PARTS[part]()
        print(f"{part}: {time.monotonic() - begin:.1f} s", flush=True)


if __name__ == "__main__":
    main()
