"""Loaders of other libraries with and without tensorlift, and whether they give the same batches.

A test says how its library is used, as a function of a Way; check() runs that without tensorlift
and with it, from the same random state, and compares every batch, bit by bit.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, default_collate

import tensorlift
from against_torch.outcome import described


@dataclass(frozen=True)
class Way:
    """One way of putting tensorlift into a loader."""

    name: str

    def __str__(self) -> str:
        return self.name

    def collate_fn(self, theirs: Callable[..., Any] = default_collate) -> Callable[..., Any]:
        """For the loader; `theirs` is what the library would take. It pickles if that does."""
        if self.name == "collate_fn":
            return tensorlift.collate
        return partial(_collate_converted, theirs) if self.name == "convert" else theirs

    def wrap(self, loader: Iterable[Any]) -> Any:
        """What is iterated in the place of the loader."""
        is_wrapped = self.name == "DevicePrefetcher"
        return tensorlift.DevicePrefetcher(loader, "cpu") if is_wrapped else loader

    def in_force(self) -> contextlib.AbstractContextManager[Any]:
        return tensorlift.install() if self.name == "install" else contextlib.nullcontext()

    def worker_init_fn(self) -> Callable[..., Any] | None:
        """For workers that are spawned."""
        return tensorlift.install if self.name == "install" else None


def _collate_converted(collate: Callable[..., Any], samples: Iterable[Any]) -> Any:
    return collate([tensorlift.convert(sample) for sample in samples])


PLAIN = Way("without")
WAYS = [Way("install"), Way("collate_fn"), Way("convert"), Way("DevicePrefetcher")]
in_each_way = pytest.mark.parametrize("way", WAYS, ids=str)


def in_ways(*names: str) -> pytest.MarkDecorator:
    """For libraries that do not have all of them."""
    return pytest.mark.parametrize("way", [Way(name) for name in names], ids=str)


def check(run: Callable[[Way], Any], way: Way) -> Any:
    """That run(way) gives what it gives without tensorlift, which is returned."""
    expected, got = (_from_the_same_state(run, each) for each in (PLAIN, way))
    assert len(expected) > 0
    assert described(got) == described(expected)
    return expected


def _from_the_same_state(run: Callable[[Way], Any], way: Way) -> Any:
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several would wait for each other, where the machine is busy
    try:
        with way.in_force():
            return run(way)
    finally:
        torch.set_num_threads(threads)


class Samples(Dataset):
    """Of many kinds, all of which torch makes a batch of. In a module: spawned workers import it.

    In each place stands what a dataset may well give there, and the last ones are odd.
    """

    def __init__(self, count: int = 22) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (5, 4, 3), np.uint8)
        return {
            "image": image,
            "channels first": image.transpose(2, 0, 1),
            "x": rng.standard_normal(3).astype(np.float32),
            "label": index % 2,
            "row": index,
            "weight": np.float64(index / 7),
            "name": f"n{index}",
            "nested": (rng.random(2), [index / 3, bool(index % 2)]),
            "half": torch.from_numpy(rng.random(4)).bfloat16(),
            "none of it": np.zeros((2, 0)),
            "0-d": np.array(index, np.int16),
            "complex": rng.random(2) + 1j,
            "a line": image[::2, 1],
            "bytes": bytes([index]),
        }
