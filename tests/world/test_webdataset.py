"""webdataset: ``tensorlift.collate`` as the ``collation_fn`` of ``batched``."""

from __future__ import annotations

import gc
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift
from support.ways import check, in_each_way
from tensorlift import _C

wds = pytest.importorskip("webdataset", minversion="0.2.100")

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # its shards


@pytest.fixture
def shard(tmp_path):
    path = str(tmp_path / "shard.tar")
    with wds.TarWriter(path) as writer:
        for i in range(6):
            image = np.full((2, 3), i, np.uint8)
            writer.write({"__key__": f"{i:04}", "image.npy": image, "cls": i, "json": {"i": i}})
    yield path
    gc.collect()  # what webdataset left open is closed under the filter above


def test_tuples_are_batched(shard):
    dataset = wds.WebDataset(shard, shardshuffle=False).decode().to_tuple("image.npy", "cls")
    batches = list(dataset.batched(4, collation_fn=tensorlift.collate))

    assert [labels.tolist() for _, labels in batches] == [[0, 1, 2, 3], [4, 5]]
    for images, labels in batches:
        assert images.dtype == torch.uint8
        assert images.shape == (len(labels), 2, 3)
        assert images[:, 1, 2].tolist() == labels.tolist()


def test_samples_of_all_fields_are_batched(shard):
    dataset = wds.WebDataset(shard, shardshuffle=False).decode()
    (batch,) = dataset.batched(6, collation_fn=tensorlift.collate)

    assert batch["image.npy"].shape == (6, 2, 3)
    assert batch["json"]["i"].tolist() == list(range(6))
    assert batch["__key__"] == [f"{i:04}" for i in range(6)]


def test_a_batch_of_a_worker_lies_in_segments(shard):
    dataset = wds.WebDataset(shard, shardshuffle=False).decode().to_tuple("image.npy", "cls")
    dataset = dataset.batched(3, collation_fn=tensorlift.collate)
    batches = list(DataLoader(dataset, batch_size=None, num_workers=1))

    assert [labels.tolist() for _, labels in batches] == [[0, 1, 2], [3, 4, 5]]
    for images, labels in batches:
        assert _C.place_in_segment(images) is not None
        assert _C.place_in_segment(labels) is not None


@in_each_way
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("is_web", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
def test_shuffled_samples(way, workers, is_web, shards):
    def run(way):
        dataset = (
            wds.WebDataset(shards, shardshuffle=2, seed=1).shuffle(4, rng=random.Random(1)).decode()
        )
        dataset = dataset.batched(3, collation_fn=way.collate_fn())
        loader = wds.WebLoader if is_web else DataLoader
        return list(way.wrap(loader(dataset, batch_size=None, num_workers=workers)))

    check(run, way)


@in_each_way
def test_its_own_batches_of_arrays_are_converted(way, shards):
    """Where a loader makes no batches, its collate_fn converts them."""

    def run(way):
        dataset = wds.WebDataset(shards, shardshuffle=False).decode()
        dataset = dataset.to_tuple("image.npy", "cls").batched(3)
        is_converted = way.name in ("collate_fn", "convert")
        collate_fn = tensorlift.convert if is_converted else None
        return list(way.wrap(DataLoader(dataset, batch_size=None, collate_fn=collate_fn)))

    assert check(run, way)[0][0].dtype == torch.uint8


@pytest.fixture
def shards(tmp_path):
    for s in range(2):
        with wds.TarWriter(str(tmp_path / f"{s}.tar")) as writer:
            for i in range(6):
                rng = np.random.default_rng([s, i])
                sample = {"image.npy": rng.integers(0, 256, (2, 3), np.uint8), "cls": i}
                sample |= {"npz": {"x": rng.random(3), "y": rng.random((2, 2))}, "txt": "t" * i}
                writer.write({"__key__": f"{s}-{i:04}", "json": {"i": i, "f": i / 7}, **sample})
    yield [str(tmp_path / f"{s}.tar") for s in range(2)]
    gc.collect()
