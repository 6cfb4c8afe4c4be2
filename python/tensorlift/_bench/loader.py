"""The suite `loader`: samples become batches, alone and in loaders.

A loader is timed for whole epochs, its workers kept between them; times are per sample. The last
cases are where it makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate, default_convert

from .. import collate, convert, install
from .harness import Case, Settings, Suite, Way, Ways, floats, photos


def tensors_of(tree: Any) -> list[torch.Tensor]:
    """All tensors of a batch, in order."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [tensor for child in children for tensor in tensors_of(child)]


def images_with_labels(count: int) -> list[Any]:
    """Images, their labels and boxes, numbers and text."""
    rng = np.random.default_rng(0)
    return [
        {
            "image": rng.random((3, 32, 32), np.float32),
            "label": np.int64(i % 10),
            "boxes": rng.random((4, 4), np.float32),
            "index": i,
            "name": f"image {i}",
        }
        for i in range(count)
    ]


def small_fields(count: int) -> list[Any]:
    """Samples of 20 small arrays."""
    rng = np.random.default_rng(0)
    return [{f"f{k}": rng.random(16, np.float32) for k in range(20)} for _ in range(count)]


def _installed(samples: list[Any]) -> Any:
    with install():
        return default_collate(samples)


def collating(samples: list[Any]) -> Ways:
    """Ours and torch's way to make one batch."""
    return {
        "tensorlift.collate": lambda: tensors_of(collate(samples)),
        "default_collate": lambda: tensors_of(default_collate(samples)),
    }


def _collated(name: str, make: Callable[[int], list[Any]], count: int, at_least: float) -> Case:
    samples = make(count)
    ways = collating(samples)
    ways["default_collate, installed"] = lambda: tensors_of(_installed(samples))
    return Case(f"collate {count} x {name}", count, ways, at_least=(at_least, None))


class Samples(Dataset[Any]):
    """Samples that lie in memory; `work` is done for each."""

    def __init__(self, samples: list[Any], work: Callable[[], None] | None = None) -> None:
        """Keeps both."""
        self.samples = samples
        self.work = work

    def __len__(self) -> int:
        """How many there are."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        """One, after the work."""
        if self.work is not None:
            self.work()
        return self.samples[index]


def _sort_numbers() -> None:
    """Some 25 us of work."""
    np.sort(np.random.default_rng(0).random(4000))


def _collated_out() -> Case:
    """Into tensors that are there already, beside a batch that is copied there."""
    samples = images_with_labels(256)
    ours, theirs = collate(samples), tensors_of(default_collate(samples))

    def copied() -> list[torch.Tensor]:
        batch = tensors_of(default_collate(samples))
        for target, tensor in zip(theirs, batch, strict=True):
            target.copy_(tensor)
        return theirs

    ways = {
        "tensorlift.collate(out=)": lambda: tensors_of(collate(samples, out=ours)),
        "default_collate, copy_": copied,
        "tensorlift.collate": lambda: tensors_of(collate(samples)),
    }
    return Case("collate 256 x the same into out=", 256, ways, at_least=(4, None))


def epochs(dataset: Samples, collate_fn: Callable[[list[Any]], Any], workers: int) -> Way:
    """A way that reads all batches of 256 and gives the last one."""
    loader = DataLoader(
        dataset,
        batch_size=256,
        num_workers=workers,
        collate_fn=collate_fn,
        persistent_workers=workers > 0,
    )

    def epoch() -> list[torch.Tensor]:
        last = None
        for batch in loader:
            last = batch
        return tensors_of(last)

    return epoch


def loading(name: str, dataset: Samples, workers: int, at_least: float | None = None) -> Case:
    """A loader with our collate function, and one with torch's."""
    return Case(
        f"DataLoader, {workers} workers, {name}",
        len(dataset),
        {
            "tensorlift.collate": epochs(dataset, collate, workers),
            "default_collate": epochs(dataset, default_collate, workers),
        },
        at_least=(at_least,),
    )


def _converted() -> Case:
    tree = {f"k{i}": list(floats(20, 64)) for i in range(10)}
    torch_convert: Callable[[Any], Any] = default_convert
    ways: Ways = {
        "tensorlift.convert": lambda: tensors_of(convert(tree)),
        "default_convert": lambda: tensors_of(torch_convert(tree)),
    }
    return Case("convert a tree of 200 arrays", 200, ways, at_least=(2,))


def _cases(settings: Settings) -> list[Callable[[], Case]]:
    count = 512 if settings.quick else 5120
    images, fields = Samples(images_with_labels(count)), Samples(small_fields(count))
    slow = Samples(images_with_labels(512), work=_sort_numbers)
    image, field = "image, label, boxes, int, str", "20 float32(16)"
    return [
        partial(_collated, f"dict of {image}", images_with_labels, 256, 4),
        _collated_out,
        partial(_collated, f"dict of {field}", small_fields, 256, 20),
        partial(_collated, "float32(64)", lambda n: list(floats(n, 64)), 1024, 30),
        partial(_collated, "uint8(224,224,3)", lambda n: list(photos(n)), 64, 1.3),
        partial(loading, image, images, 0, 2.5),
        partial(loading, field, fields, 0, 5),
        partial(loading, image, images, 2, 1.8),
        partial(loading, field, fields, 2, 4),
        _converted,
        partial(loading, "25 us of work a sample", slow, 0),
        partial(loading, "25 us of work a sample", slow, 2),
    ]


SUITE = Suite(
    "loader",
    "How much faster do samples become batches than with torch's own collate, alone and in "
    "loaders?",
    _cases,
)
