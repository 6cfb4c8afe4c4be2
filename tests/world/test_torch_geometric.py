"""torch_geometric: its loaders join graphs themselves, and leave what is no graph to torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from support.ways import check, in_ways

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # fork with threads, too
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
pytest.importorskip("torch_geometric", minversion="2.6")
graphs = pytest.importorskip("torch_geometric.data")
loaders = pytest.importorskip("torch_geometric.loader")


def graph(index):
    rng = np.random.default_rng(index)
    nodes = 3 + index % 4
    return graphs.Data(
        x=torch.from_numpy(rng.random((nodes, 5), np.float32)),
        edge_index=torch.from_numpy(rng.integers(0, nodes, (2, 6))),
        y=index % 2,
        name=f"g{index}",
        pos=torch.from_numpy(rng.random((nodes, 3))).T.contiguous().T,
    )


def plain(batch):
    if isinstance(batch, graphs.Data):
        return {"type": type(batch).__name__, **batch.to_dict()}
    return batch


@in_ways("install", "DevicePrefetcher")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("follow_batch", [None, ["x"]])
def test_batches_of_graphs(way, workers, follow_batch):
    def run(way):
        loader = loaders.DataLoader(
            [graph(i) for i in range(10)],
            batch_size=4,
            shuffle=True,
            num_workers=workers,
            follow_batch=follow_batch,
        )
        return [plain(batch) for batch in way.wrap(loader)]

    assert check(run, way)[0]["type"].startswith("DataBatch")


@in_ways("install", "DevicePrefetcher")
@pytest.mark.parametrize("workers", [0, 2])
def test_graphs_beside_tensors_and_numbers(way, workers):
    """Of these, the tensors are torch's default_collate's."""

    def run(way):
        samples = [
            {"graph": graph(i), "x": torch.full((2, 3), float(i)), "y": (i, i / 3), "name": "a" * i}
            for i in range(10)
        ]
        loader = loaders.DataLoader(samples, batch_size=4, shuffle=True, num_workers=workers)
        return [{name: plain(value) for name, value in batch.items()} for batch in way.wrap(loader)]

    check(run, way)
