"""litdata: batches of its streaming loader, from a folder, and on from the middle of an epoch."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from against_torch.outcome import described
from support.ways import check, in_each_way

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # fork with threads, too
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
os.environ.setdefault("DISABLE_VERSION_CHECK", "1")
litdata = pytest.importorskip("litdata", minversion="0.2.40")


def row(index):
    rng = np.random.default_rng(index)
    return {
        "image": rng.integers(0, 256, (4, 5, 3), np.uint8),
        "x": torch.from_numpy(rng.random(3, np.float32)),
        "label": index,
        "weight": index / 7,
        "name": f"n{index}",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from litdata.streaming.writer import BinaryWriter

    folder = tmp_path_factory.mktemp("litdata")
    writer = BinaryWriter(str(folder), chunk_size=5)
    for index in range(22):
        writer[index] = row(index)
    writer.done()
    writer.merge()
    return str(folder)


def make(way, folder, workers):
    dataset = litdata.StreamingDataset(folder, shuffle=True, seed=3)
    return litdata.StreamingDataLoader(
        dataset, batch_size=4, num_workers=workers, collate_fn=way.collate_fn()
    )


@in_each_way
@pytest.mark.parametrize("workers", [0, 2])
def test_epochs(way, workers, folder):
    def run(way):
        loader = way.wrap(make(way, folder, workers))
        return [list(loader) for _ in range(2)]

    first, _ = check(run, way)
    rows = torch.cat([batch["label"] for batch in first])
    assert sorted(rows.tolist()) == list(range(22))


@in_each_way
@pytest.mark.parametrize("workers", [0, 2])
def test_it_goes_on_in_mid_epoch(way, workers, folder):
    def run(way):
        loader = way.wrap(make(way, folder, workers))
        batches = iter(loader)
        seen = [next(batches) for _ in range(2)]
        state = loader.state_dict()
        rest = list(batches)
        resumed = way.wrap(make(way, folder, workers))
        resumed.load_state_dict(state)
        again = list(resumed)
        assert described(again) == described(rest)
        return [*seen, *again]

    check(run, way)
