"""fastai: a Learner's fit with torch's loaders and with its own, and the weights that result."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from support.ways import check, in_each_way, in_ways

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # fork with threads, too
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::SyntaxWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
pytest.importorskip("fastai", minversion="2.8")
fastai = pytest.importorskip("fastai.data.all")
learner = pytest.importorskip("fastai.learner")
callback = pytest.importorskip("fastai.callback.core")


class Pairs(torch.utils.data.Dataset):
    def __len__(self):
        return 22

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        return rng.random(3, np.float32), index % 2


class Noting(callback.Callback):
    def __init__(self):
        self.seen = []

    def before_batch(self):
        self.seen.append([torch.Tensor(part).clone() for part in (*self.xb, *self.yb)])


def fit(train, valid, way):
    loaders = fastai.DataLoaders(way.wrap(train), way.wrap(valid), device="cpu")
    noting = Noting()
    model = torch.nn.Linear(3, 2)
    taught = learner.Learner(loaders, model, loss_func=torch.nn.functional.cross_entropy)
    with taught.no_logging():
        taught.fit(2, 0.1, cbs=noting)
    return [noting.seen, dict(model.state_dict())]


@in_each_way
@pytest.mark.parametrize("workers", [0, 2])
def test_torchs_loaders(way, workers):
    def run(way):
        options = {"batch_size": 4, "num_workers": workers, "collate_fn": way.collate_fn()}
        train = DataLoader(Pairs(), shuffle=True, **options)
        return fit(train, DataLoader(Pairs(), **options), way)

    assert len(check(run, way)[0]) == 2 * (6 + 6)


@in_ways("install", "DevicePrefetcher", "collate_fn")
@pytest.mark.parametrize("workers", [0, 2])
def test_its_own_loaders(way, workers):
    def run(way):
        options = {"bs": 4, "num_workers": workers, "device": "cpu"}
        if way.name == "collate_fn":
            options["create_batch"] = way.collate_fn()
        train = fastai.DataLoader(Pairs(), shuffle=True, **options)
        return fit(train, fastai.DataLoader(Pairs(), **options), way)

    check(run, way)
