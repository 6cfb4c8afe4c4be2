"""MONAI: batches of cached and augmented volumes by its own loader, whose collate_fn is its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift
from against_torch.outcome import described
from support.ways import check, in_each_way, in_ways

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # fork with threads, too
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
monai = pytest.importorskip("monai", minversion="1.4")
data = pytest.importorskip("monai.data")
transforms = pytest.importorskip("monai.transforms")


def volumes(count=9):
    rng = np.random.default_rng(0)
    return [
        {"image": rng.random((1, 8, 8, 8), np.float32), "label": np.int64(i % 3), "name": f"v{i}"}
        for i in range(count)
    ]


def augment(tracked, crops=1):
    """Random, of tensors that know their affine, or of plain ones."""
    return transforms.Compose(
        [
            transforms.EnsureTyped("image", track_meta=tracked),
            transforms.RandFlipd("image", prob=0.5, spatial_axis=0),
            transforms.RandSpatialCropSamplesd("image", roi_size=(4, 4, 4), num_samples=crops),
        ]
    ).set_random_state(3)


@in_each_way
@pytest.mark.parametrize("kind", [data.CacheDataset, data.Dataset])
@pytest.mark.parametrize("workers", [0, 2])
def test_crops_of_volumes(way, kind, workers):
    """Each sample is a list of crops, which list_data_collate makes one batch of."""

    def run(way):
        options = {"cache_rate": 1.0, "progress": False} if kind is data.CacheDataset else {}
        dataset = kind(volumes(), augment(tracked=False, crops=2), **options)
        theirs = data.list_data_collate
        # tensorlift.collate gives the lists that torch gives: the crops come one after another.
        collate_fn = collate_crops if way.name == "collate_fn" else way.collate_fn(theirs)
        loader = data.DataLoader(
            dataset, batch_size=4, shuffle=True, num_workers=workers, collate_fn=collate_fn
        )
        return list(way.wrap(loader))

    batches = check(run, way)
    assert batches[0]["image"].shape == (8, 1, 4, 4, 4)


def collate_crops(samples):
    return tensorlift.collate([crop for crops in samples for crop in crops])


def plain(batch):
    """A batch of MetaTensors as what compares, their metadata included."""
    return {
        name: (type(value).__name__, value.as_tensor(), dict(value.meta), value.is_batch)
        if isinstance(value, data.MetaTensor)
        else value
        for name, value in batch.items()
    }


@in_ways("install", "convert", "DevicePrefetcher")
@pytest.mark.parametrize("workers", [0, 2])
def test_tensors_with_metadata(way, workers):
    def run(way):
        dataset = data.CacheDataset(volumes(), augment(tracked=True), progress=False)
        loader = data.DataLoader(
            dataset,
            batch_size=4,
            shuffle=True,
            num_workers=workers,
            collate_fn=way.collate_fn(data.list_data_collate),
        )
        return [plain(batch) for batch in way.wrap(loader)]

    assert check(run, way)[0]["image"][0] == "MetaTensor"


def test_tensors_with_metadata_are_collated_as_by_torch():
    dataset = data.Dataset(volumes(4), augment(tracked=True))
    samples = [crops[0] for crops in dataset]
    theirs, ours = (
        plain(collate(samples))
        for collate in (torch.utils.data.default_collate, tensorlift.collate)
    )
    assert described(ours) == described(theirs)


@in_each_way
def test_arrays_without_a_transform(way):
    def run(way):
        dataset = data.ArrayDataset(
            np.arange(60, dtype=np.float32).reshape(10, 2, 3), labels=np.arange(10)
        )
        return list(way.wrap(DataLoader(dataset, batch_size=4, collate_fn=way.collate_fn())))

    check(run, way)
