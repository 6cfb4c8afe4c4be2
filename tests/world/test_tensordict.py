"""tensordict: a TensorDict over the tensors of a collated batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils.collate import default_collate_fn_map

import tensorlift
from support.ways import check, in_each_way

tensordict = pytest.importorskip("tensordict", minversion="0.8")

SAMPLES = [
    {"image": np.full((2, 3), i, np.float32), "label": i, "extra": {"id": np.int16(i)}}
    for i in range(8)
]


def collate(samples):
    return tensordict.TensorDict(tensorlift.collate(samples), batch_size=len(samples))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_gives_tensordicts(workers):
    batches = list(DataLoader(SAMPLES, batch_size=4, num_workers=workers, collate_fn=collate))

    assert [type(batch) for batch in batches] == [tensordict.TensorDict] * 2
    batch = torch.cat(batches)
    assert batch.batch_size == (8,)
    assert batch["image"].shape == (8, 2, 3)
    assert batch["extra", "id"].dtype == torch.int16
    assert batch[2:4]["label"].tolist() == [2, 3]


IS_KNOWN_TO_TORCH = any(  # tensordict 0.15.3 and newer
    issubclass(tensordict.TensorDict, kind)
    for kind in default_collate_fn_map
    if isinstance(kind, type)
)


@pytest.mark.skipif(not IS_KNOWN_TO_TORCH, reason="this tensordict refuses torch's default_collate")
def test_tensordicts_are_collated_as_by_torch():
    samples = [tensordict.TensorDict({"x": torch.full((2,), i)}) for i in range(3)]
    batch = tensorlift.collate(samples)
    assert type(batch) is tensordict.TensorDict
    assert batch["x"].tolist() == [[0, 0], [1, 1], [2, 2]]


def test_a_device_prefetcher_takes_it_for_one_value():
    batches = [tensordict.TensorDict({"x": torch.full((2, 3), i)}, batch_size=2) for i in range(3)]
    results = list(tensorlift.DevicePrefetcher(batches, "cpu"))
    assert [type(batch) for batch in results] == [tensordict.TensorDict] * 3
    assert [int(batch["x"].sum()) for batch in results] == [0, 6, 12]


@in_each_way
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
def test_batches_of_a_shuffled_loader(way, workers):
    def run(way):
        loader = DataLoader(
            SAMPLES, batch_size=3, shuffle=True, num_workers=workers, collate_fn=way.collate_fn()
        )
        made = [
            tensordict.TensorDict(batch, batch_size=len(batch["label"]))
            for batch in way.wrap(loader)
        ]
        return [batch.to_dict() for batch in [*made, torch.cat(made), torch.cat(made)[1::2]]]

    check(run, way)
