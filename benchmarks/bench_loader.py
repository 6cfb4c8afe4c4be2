"""How much faster do samples become batches than with torch's own collate, alone and in loaders?

    python benchmarks/bench_loader.py [--seconds S] [--json FILE] [--quick] [--only TEXT]

Ours and torch's run turn by turn in one process on the same samples; batches are compared before
anything is timed. A ratio above 1 means that ours is faster. A loader is timed for whole epochs,
its workers kept between them; times are per sample. The last rows are where it makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate, default_convert

import harness
import tensorlift

rng = np.random.default_rng(0)


def tensors_of(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [tensor for child in children for tensor in tensors_of(child)]


def images_with_labels(count: int) -> list[dict[str, Any]]:
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


def small_fields(count: int) -> list[dict[str, Any]]:
    return [{f"f{k}": rng.random(16, np.float32) for k in range(20)} for _ in range(count)]


def vectors(count: int) -> list[Any]:
    return [rng.random(64, np.float32) for _ in range(count)]


def photos(count: int) -> list[Any]:
    return [rng.integers(0, 256, (224, 224, 3)).astype(np.uint8) for _ in range(count)]


def installed(samples: list[Any]) -> Any:
    with tensorlift.install():
        return default_collate(samples)


def collated(name: str, samples: list[Any], at_least: float) -> harness.Case:
    return harness.Case(
        f"collate {len(samples)} x {name}",
        len(samples),
        {
            "tensorlift.collate": lambda: tensors_of(tensorlift.collate(samples)),
            "default_collate": lambda: tensors_of(default_collate(samples)),
            "default_collate, installed": lambda: tensors_of(installed(samples)),
        },
        at_least=(at_least, None),
    )


class Samples(Dataset[Any]):
    """Samples that lie in memory; `work` is done for each."""

    def __init__(self, samples: list[Any], work: Callable[[], None] | None = None) -> None:
        self.samples = samples
        self.work = work

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        if self.work is not None:
            self.work()
        return self.samples[index]


def sort_numbers() -> None:
    """Some 25 us of work."""
    np.sort(np.random.default_rng(0).random(4000))


def epochs(dataset: Samples, collate_fn: Callable[[list[Any]], Any], workers: int) -> Any:
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


def loaded(
    name: str, dataset: Samples, workers: int, at_least: float | None = None
) -> harness.Case:
    return harness.Case(
        f"DataLoader, {workers} workers, {name}",
        len(dataset),
        {
            "tensorlift.collate": epochs(dataset, tensorlift.collate, workers),
            "default_collate": epochs(dataset, default_collate, workers),
        },
        at_least=(at_least,),
    )


def converted() -> harness.Case:
    tree = {f"k{i}": [rng.random(64, np.float32) for _ in range(20)] for i in range(10)}
    return harness.Case(
        "convert a tree of 200 arrays",
        200,
        {
            "tensorlift.convert": lambda: tensors_of(tensorlift.convert(tree)),
            "default_convert": lambda: tensors_of(default_convert(tree)),
        },
        at_least=(2,),
    )


def main() -> None:
    options = harness.arguments(__doc__.splitlines()[0])
    count = 512 if options.quick else 5120
    fields, images = Samples(small_fields(count)), Samples(images_with_labels(count))
    slow = Samples(images_with_labels(512), work=sort_numbers)
    cases = [
        lambda: collated("dict of image, label, boxes, int, str", images_with_labels(256), 4),
        lambda: collated("dict of 20 float32(16)", small_fields(256), 20),
        lambda: collated("float32(64)", vectors(1024), 30),
        lambda: collated("uint8(224,224,3)", photos(64), 1.3),
        partial(loaded, "image, label, boxes, int, str", images, 0, 2.5),
        partial(loaded, "20 float32(16)", fields, 0, 5),
        partial(loaded, "image, label, boxes, int, str", images, 2, 1.8),
        partial(loaded, "20 float32(16)", fields, 2, 4),
        converted,
        partial(loaded, "25 us of work a sample", slow, 0),
        partial(loaded, "25 us of work a sample", slow, 2),
    ]
    harness.run(__doc__.splitlines()[0], cases, options)


if __name__ == "__main__":
    main()
