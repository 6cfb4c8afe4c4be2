"""Does tensorlift.ray make iter_torch_batches faster, and what memory does it take?

    python benchmarks/ray_data.py [--rounds 5] [--rows 100000]

On a local Ray with two CPUs, from blocks that are in its memory: an epoch with Ray's own function,
or with one as people write it, and an epoch with tensorlift.ray.CollateFn, turn by turn. The
batches are compared first. Memory is what this process has of its own at most, beside what it had
before the epoch; a batch is kept until the next one is there, as a training step does.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import gc
import logging
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import ray
import torch
from ray.data.collate_fn import NumpyBatchCollateFn

import tensorlift.ray
from tensorlift import Normalize, Pad

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class NormalizeByTorch(NumpyBatchCollateFn):
    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        image = torch.as_tensor(batch["image"]).permute(0, 3, 1, 2).to(torch.float32) * (1 / 255)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        return {"image": ((image - mean) / std).contiguous()}


class PadByTorch(NumpyBatchCollateFn):
    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        rows = [torch.as_tensor(row) for row in batch["tokens"]]
        return {"tokens": torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)}


class JoinByTorch(NumpyBatchCollateFn):
    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        rows = [torch.as_tensor(row) for row in batch["tokens"]]
        lengths = torch.tensor([0, *map(len, rows)])
        return {"tokens": torch.cat(rows), "tokens_offsets": lengths.cumsum(0)}


class Case(NamedTuple):
    name: str
    make: Callable[[int], Any]  # a dataset of so many rows
    batch_size: int
    theirs: dict[str, Any]  # options of iter_torch_batches
    ours: tensorlift.ray.CollateFn


def numbers(rows: int) -> Any:
    rng = np.random.default_rng(0)
    tables = [pa.table({f"c{i}": rng.random(rows // 4) for i in range(40)}) for _ in range(4)]
    return ray.data.from_arrow(tables)


def images(rows: int) -> Any:
    pixels = np.random.default_rng(0).integers(0, 256, (rows // 10, 96, 96, 3), np.uint8)
    return ray.data.from_numpy(np.array_split(pixels, 4)).rename_columns({"data": "image"})


def tokens(rows: int) -> Any:
    rng = np.random.default_rng(0)
    tables = []
    for _ in range(4):
        lengths = rng.integers(16, 512, rows // 4)
        offsets = np.concatenate([[0], lengths.cumsum()])
        values = rng.integers(0, 50_000, offsets[-1])
        lists = pa.LargeListArray.from_arrays(offsets, values)
        tables.append(pa.table({"tokens": lists}))
    return ray.data.from_arrow(tables)


CASES = [
    Case("40 columns of float64", numbers, 1024, {}, tensorlift.ray.CollateFn()),
    Case(
        "40 columns, to float32",
        numbers,
        1024,
        {"dtypes": torch.float32},
        tensorlift.ray.CollateFn(dtype=torch.float32),
    ),
    Case("images (96, 96, 3)", images, 128, {}, tensorlift.ray.CollateFn()),
    Case(
        "images, normalised, (3, 96, 96)",
        images,
        128,
        {"collate_fn": NormalizeByTorch()},
        tensorlift.ray.CollateFn(
            normalize={"image": Normalize(MEAN, STD)}, channel_dim={"image": -1}
        ),
    ),
    Case(
        "tokens, padded",
        tokens,
        256,
        {"collate_fn": PadByTorch()},
        tensorlift.ray.CollateFn(pad={"tokens": Pad(0, sizes=False)}),
    ),
    Case(
        "tokens, values and offsets",
        tokens,
        256,
        {"collate_fn": JoinByTorch()},
        tensorlift.ray.CollateFn(jagged=["tokens"]),
    ),
]


def own_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


class Peak:
    """The most that this process has of its own while an epoch runs."""

    def __enter__(self) -> Peak:
        gc.collect()
        tensorlift.empty_cache()
        ctypes.CDLL(None).malloc_trim(0)  # what the last epoch has freed
        self.before = self.most = own_bytes()
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        while not self.is_over.wait(0.002):
            self.most = max(self.most, own_bytes())

    def __exit__(self, *error: object) -> None:
        self.is_over.set()
        self.thread.join()
        self.grown = (self.most - self.before) / 2**20


def epoch(dataset: Any, batch_size: int, options: dict[str, Any]) -> tuple[float, float]:
    """Seconds and MiB."""
    with Peak() as peak:
        begin = time.perf_counter()
        for _batch in dataset.iter_torch_batches(batch_size=batch_size, **options):
            pass
        seconds = time.perf_counter() - begin
    return seconds, peak.grown


def compare(dataset: Any, case: Case) -> None:
    batches: list[Iterator[Any]] = [
        iter(dataset.iter_torch_batches(batch_size=case.batch_size, **options))
        for options in (case.theirs, {"collate_fn": case.ours})
    ]
    for theirs, ours in zip(*batches, strict=True):
        assert theirs.keys() == ours.keys()
        for name, tensor in theirs.items():
            assert tensor.dtype == ours[name].dtype
            assert torch.equal(tensor, ours[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    print(f"{datetime.date.today()}, Ray {ray.__version__}, torch {torch.__version__}\n")
    print("| case | Ray's, rows/s | ours, rows/s | ratio | Ray's, MiB | ours, MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        dataset = case.make(options.rows).materialize()
        compare(dataset, case)
        found: list[list[tuple[float, float]]] = [[], []]
        for _ in range(options.rounds):
            for results, how in zip(found, (case.theirs, {"collate_fn": case.ours}), strict=True):
                results.append(epoch(dataset, case.batch_size, how))
        seconds = [statistics.median(s for s, _ in results) for results in found]
        memory = [statistics.median(m for _, m in results) for results in found]
        rows = dataset.count()
        print(
            f"| {case.name} | {rows / seconds[0]:,.0f} | {rows / seconds[1]:,.0f} | "
            f"{seconds[0] / seconds[1]:.2f} | {memory[0]:.0f} | {memory[1]:.0f} |",
            flush=True,
        )
    ray.shutdown()


if __name__ == "__main__":
    main()
