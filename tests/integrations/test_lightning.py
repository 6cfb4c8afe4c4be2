"""Lightning: ``tensorlift.collate`` in the loaders of a LightningDataModule.

A ``tensorlift.DevicePrefetcher`` around a loader is a loader for the Trainer as well.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift

L = pytest.importorskip("lightning", minversion="2.4")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated"),
]

SAMPLES = [{"image": np.full(3, i, np.float32), "label": i % 2} for i in range(16)]


class Data(L.LightningDataModule):
    def __init__(self, workers=0):
        super().__init__()
        self.workers = workers

    def train_dataloader(self):
        return DataLoader(
            SAMPLES, batch_size=4, num_workers=self.workers, collate_fn=tensorlift.collate
        )


class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        self.seen = []

    def training_step(self, batch, index):
        self.seen.append(batch)
        return torch.nn.functional.cross_entropy(self.layer(batch["image"]), batch["label"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(data, folder):
    model = Model()
    before = model.layer.weight.detach().clone()
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    assert not torch.equal(model.layer.weight, before), "the model has not learned anything"
    return model.seen


def check(batches):
    assert len(batches) == 4
    images = torch.cat([batch["image"] for batch in batches])
    assert torch.equal(images, torch.arange(16.0)[:, None].expand(16, 3))
    assert torch.cat([batch["label"] for batch in batches]).tolist() == [0, 1] * 8


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_modules_batches_reach_the_training_step(workers, tmp_path):
    check(fit(Data(workers), tmp_path))


def test_a_device_prefetcher_is_a_loader_for_the_trainer(tmp_path):
    check(fit(tensorlift.DevicePrefetcher(Data().train_dataloader(), "cpu"), tmp_path))
