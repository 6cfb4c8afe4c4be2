"""torchdata: ``tensorlift.collate`` as the map function of a pipeline of nodes.

Batcher gives lists of samples; ParallelMapper collates them in threads or processes. For a
StatefulDataLoader it is the ``collate_fn``, as for torch's DataLoader.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import SequentialSampler

import tensorlift
from against_torch.outcome import described
from support import ways
from support.ways import Samples, in_each_way, in_ways
from tensorlift import _C

pytest.importorskip("torchdata", minversion="0.11")
nodes = pytest.importorskip("torchdata.nodes")
StatefulDataLoader = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")

SAMPLES = [{"image": np.full((2, 3), i, np.float32), "label": i} for i in range(8)]


def check(batches):
    assert [batch["label"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    for batch in batches:
        assert batch["image"].dtype == torch.float32
        assert batch["image"].shape == (4, 2, 3)
        assert batch["image"][:, 1, 2].tolist() == batch["label"].tolist()


@pytest.mark.parametrize("method", ["thread", "process"])
def test_nodes_collate_in_order_in_every_epoch(method):
    samples = nodes.MapStyleWrapper(SAMPLES, SequentialSampler(SAMPLES))
    lists = nodes.Batcher(samples, batch_size=4)
    batches = nodes.ParallelMapper(lists, tensorlift.collate, num_workers=2, method=method)
    loader = nodes.Loader(batches)

    check(list(loader))
    check(list(loader))


def test_a_batch_of_a_stateful_loaders_worker_lies_in_segments():
    loader = StatefulDataLoader(SAMPLES, batch_size=4, num_workers=1, collate_fn=tensorlift.collate)
    batches = list(loader)

    check(batches)
    for batch in batches:
        assert all(_C.place_in_segment(value) is not None for value in batch.values())


def test_a_stateful_loader_goes_on_where_it_was():
    loader = StatefulDataLoader(SAMPLES, batch_size=4, collate_fn=tensorlift.collate)
    next(iter(loader))
    state = loader.state_dict()

    resumed = StatefulDataLoader(SAMPLES, batch_size=4, collate_fn=tensorlift.collate)
    resumed.load_state_dict(state)
    assert [batch["label"].tolist() for batch in resumed] == [[4, 5, 6, 7]]


@in_each_way
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
def test_a_stateful_loader_that_is_resumed_in_mid_epoch(way, workers):
    """Its state is the one of what was delivered, and so are the random numbers to come."""

    def make(way):
        loader = StatefulDataLoader(
            Samples(),
            batch_size=4,
            shuffle=True,
            num_workers=workers,
            collate_fn=way.collate_fn(),
        )
        return way.wrap(loader)

    def run(way):
        batches, resumed = resumed_in_mid_epoch(make, way)
        return [*batches, *resumed]

    assert len(ways.check(run, way)) == 6 + 6


def resumed_in_mid_epoch(make, way):
    """The batches of an epoch, the last ones of a loader that was resumed; and that loader."""
    loader = make(way)
    batches = iter(loader)
    seen = [next(batches) for _ in range(2)]
    state = loader.state_dict()
    rest = list(batches)
    resumed = make(way)
    resumed.load_state_dict(state)
    again = list(resumed)
    assert described(again) == described(rest)
    return [*seen, *again], resumed


@in_ways("collate_fn", "install", "convert")
@pytest.mark.parametrize("method", ["thread", "process"])
def test_nodes_that_are_resumed_in_mid_epoch(way, method):
    order = torch.randperm(len(Samples())).tolist()

    def make(way):
        samples = nodes.MapStyleWrapper(Samples(), order)
        lists = nodes.Batcher(samples, batch_size=4, drop_last=False)
        options = {"num_workers": 2, "method": method, "snapshot_frequency": 1}
        options |= {"multiprocessing_context": "fork"} if method == "process" else {}
        return nodes.Loader(nodes.ParallelMapper(lists, way.collate_fn(), **options))

    def run(way):
        return resumed_in_mid_epoch(make, way)[0]

    assert len(ways.check(run, way)) == 6
