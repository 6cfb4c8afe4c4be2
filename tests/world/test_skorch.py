"""skorch: a net's training and prediction, and the weights that come of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from support.ways import check, in_each_way

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # fork with threads, too
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
skorch = pytest.importorskip("skorch", minversion="1.1")


class Net(skorch.NeuralNetClassifier):
    """Notes the batches of each step."""

    def train_step(self, batch, **options):
        self.seen.append(batch)
        return super().train_step(batch, **options)


@in_each_way
@pytest.mark.parametrize("workers", [0, 2])
def test_fit_and_predict(way, workers):
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 3), np.float32), rng.integers(0, 2, 40)

    def run(way):
        def loader(dataset, **options):
            return way.wrap(DataLoader(dataset, **options))

        net = Net(
            torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Softmax(-1)),
            max_epochs=2,
            batch_size=8,
            verbose=0,
            iterator_train=loader,
            iterator_valid=loader,
            iterator_train__shuffle=True,
            iterator_train__num_workers=workers,
            iterator_train__collate_fn=way.collate_fn(),
            iterator_valid__collate_fn=way.collate_fn(),
        )
        net.seen = []
        net.fit(x, y)
        losses = net.history[:, ["train_loss", "valid_loss"]]
        return [net.seen, losses, net.predict_proba(x), dict(net.module_.state_dict())]

    seen, losses, *_ = check(run, way)
    assert len(seen) == 2 * 4
    assert len(losses) == 2
