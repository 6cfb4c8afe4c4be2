"""webdataset: ``tensorlift.collate`` as the ``collation_fn`` of ``batched``."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift
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
