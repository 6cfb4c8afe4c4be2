"""Tensors of a worker's batch do not grow, as torch's do not: neighbours lie behind them."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift

SAMPLES = [{"a": np.zeros(4, np.float32), "b": np.ones(64, np.float32)}] * 4


def batch_of_a_worker(collate):
    return next(iter(DataLoader(SAMPLES, batch_size=4, num_workers=1, collate_fn=collate)))


# Each with a tensor of its own: torch changes the shape before it refuses to grow the storage, and
# a tensor whose growth was refused must not be used any more, whoever made it.
GROWTHS = {
    "resize_": lambda tensor: tensor.resize_(4, 20),
    "resize_as_": lambda tensor: tensor.resize_as_(torch.ones(4, 20)),
    "out=": lambda tensor: torch.mul(torch.ones(4, 20), 3, out=tensor),
    "storage": lambda tensor: tensor.untyped_storage().resize_(320),
}


@pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")
@pytest.mark.parametrize("growth", GROWTHS)
@pytest.mark.parametrize("collate", [None, tensorlift.collate])
def test_growing_is_refused(collate, growth):
    batch = batch_of_a_worker(collate)
    assert not batch["a"].untyped_storage().resizable()
    with pytest.raises(RuntimeError, match="resiz"):
        GROWTHS[growth](batch["a"])
    assert torch.equal(batch["b"], torch.ones(4, 64))


@pytest.mark.parametrize("collate", [None, tensorlift.collate])
def test_shrinking_and_new_views_are_allowed(collate):
    batch = batch_of_a_worker(collate)
    assert batch["a"].resize_(2, 2).shape == (2, 2)
    assert batch["b"].unsqueeze_(1).shape == (4, 1, 64)
