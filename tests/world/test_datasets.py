"""Hugging Face datasets: rows of the "numpy" format through ``tensorlift.collate``.

Batches of ``dataset.iter()`` go through ``tensorlift.convert``. Columns of the "arrow" format are
views of Arrow's memory, which is read-only: ``readonly=`` says whether it is shared or copied.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift
from support.ways import check, in_each_way

os.environ.setdefault("HF_HUB_OFFLINE", "1")
datasets = pytest.importorskip("datasets", minversion="3.0")

IMAGES = np.arange(10 * 4 * 5, dtype=np.float32).reshape(10, 4, 5)


@pytest.fixture
def dataset():
    features = datasets.Features(
        {
            "image": datasets.Array2D((4, 5), "float32"),
            "label": datasets.Value("int64"),
            "name": datasets.Value("string"),
        }
    )
    columns = {"image": IMAGES, "label": list(range(10)), "name": [f"n{i}" for i in range(10)]}
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_are_collated_to_batches(dataset, workers):
    rows = dataset.with_format("numpy")
    loader = DataLoader(rows, batch_size=4, num_workers=workers, collate_fn=tensorlift.collate)
    batches = list(loader)

    assert torch.equal(torch.cat([b["image"] for b in batches]), torch.from_numpy(IMAGES))
    assert torch.cat([b["label"] for b in batches]).tolist() == list(range(10))
    assert batches[2]["name"] == ["n8", "n9"]


def test_batches_are_shared(dataset):
    columns = next(dataset.with_format("numpy").iter(batch_size=4))
    batch = tensorlift.convert(columns)

    assert torch.equal(batch["image"], torch.from_numpy(IMAGES[:4]))
    assert np.shares_memory(batch["image"].numpy(), columns["image"])
    assert batch["label"].tolist() == [0, 1, 2, 3]
    assert batch["name"] is columns["name"]  # text stays an array of text


def test_arrows_read_only_memory_is_shared_or_copied_as_you_say(dataset):
    label = dataset.with_format("arrow")[:]["label"].to_numpy()
    assert not label.flags.writeable

    (shared,) = tensorlift.from_numpy([label], readonly="share")  # for reading only
    assert np.shares_memory(shared.numpy(), label)
    (own,) = tensorlift.from_numpy([label], readonly="copy")
    own += 1
    assert shared.tolist() == list(range(10))
    with pytest.warns(UserWarning, match="not writable"):
        tensorlift.from_numpy([label])


def test_rows_of_different_lengths_are_padded():
    tokens = datasets.Dataset.from_dict({"tokens": [[1, 2, 3], [4], [5, 6]]}).with_format("numpy")

    def collate(rows):
        padded = tensorlift.pad([row["tokens"] for row in rows], padding_value=-1)
        return {"tokens": padded.batch, "length": padded.lengths}

    (batch,) = DataLoader(tokens, batch_size=3, collate_fn=collate)
    assert batch["tokens"].tolist() == [[1, 2, 3], [4, -1, -1], [5, 6, -1]]
    assert batch["length"].tolist() == [3, 1, 2]


@in_each_way
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("form", ["numpy", "torch"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
def test_rows_in_a_shuffled_loader(way, workers, form, dataset):
    def run(way):
        rows = dataset.with_format(form)
        loader = DataLoader(
            rows, batch_size=4, shuffle=True, num_workers=workers, collate_fn=way.collate_fn()
        )
        return list(way.wrap(loader))

    check(run, way)


@in_each_way
def test_rows_of_an_iterable_dataset(way, dataset):
    def run(way):
        rows = dataset.to_iterable_dataset(num_shards=2).shuffle(seed=1, buffer_size=4)
        rows = rows.with_format("numpy")
        return list(way.wrap(DataLoader(rows, batch_size=4, collate_fn=way.collate_fn())))

    check(run, way)
