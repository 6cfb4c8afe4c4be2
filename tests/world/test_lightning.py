"""Lightning: ``tensorlift.collate`` in the loaders of a LightningDataModule.

A ``tensorlift.DevicePrefetcher`` around a loader is that loader for the Trainer: it is seeded,
shuffled, distributed and limited as the loader would be without it.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift
from support.ways import Samples, in_each_way
from support.ways import check as check_way

L = pytest.importorskip("lightning", minversion="2.4")
ranks = pytest.importorskip("lightning_ranks")

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


def fit(data, folder, model=None, **options):
    model = model or Model()
    before = model.layer.weight.detach().clone()
    trainer = L.Trainer(
        **({"max_epochs": 1} | options),
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


class Orders(Model):
    """The labels of each epoch, in order."""

    def on_train_epoch_start(self):
        self.seen.append([])

    def training_step(self, batch, index):
        loss = super().training_step({**batch, "label": batch["label"] % 2}, index)
        del self.seen[-1]
        self.seen[-1].append(batch["label"].tolist())
        return loss


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": 3},
        {"max_epochs": 3, "limit_train_batches": 2},  # leaves every epoch early
        {"max_epochs": 2, "overfit_batches": 2},  # replaces the sampler
    ],
    ids=str,
)
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:You requested to overfit")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
def test_a_shuffled_loader_has_the_order_that_it_has_without_a_prefetcher(
    workers, options, tmp_path
):
    rows = [{"image": np.full(3, i, np.float32), "label": i} for i in range(16)]
    orders = []
    for is_wrapped in (False, True):
        L.seed_everything(7, verbose=False)
        loader = DataLoader(
            rows, batch_size=4, shuffle=True, num_workers=workers, collate_fn=tensorlift.collate
        )
        if is_wrapped:
            loader = tensorlift.DevicePrefetcher(loader, "cpu")
        orders.append(fit(loader, tmp_path, Orders(), **options))
    assert orders[0] == orders[1]
    assert len(orders[0]) == options["max_epochs"]
    assert "overfit_batches" in options or orders[0][0] != orders[0][1]


def test_two_ranks_share_the_rows_in_another_order_every_epoch(tmp_path):
    """Lightning makes the prefetcher anew with a DistributedSampler, and calls its set_epoch()."""
    program = [sys.executable, ranks.__file__, str(tmp_path)]
    run = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    of_ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(ranks.RANKS)]
    for place in ("hook", "argument"):
        seen = [of_rank[f"wrapped, {place}"] for of_rank in of_ranks]
        assert seen == [of_rank[f"plain, {place}"] for of_rank in of_ranks]
        for epoch in range(ranks.EPOCHS):
            assert sorted(seen[0]["epochs"][epoch] + seen[1]["epochs"][epoch]) == ranks.ROWS
        assert seen[0]["epochs"][0] != seen[0]["epochs"][1] != seen[0]["epochs"][2]
        predicted = [row for rank in seen for batch in rank["predicted"] for row in batch]
        assert sorted(predicted) == ranks.ROWS


@in_each_way
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_workers": 2, "persistent_workers": True},
        {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": "spawn"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
def test_a_fit_with_validation(way, options, tmp_path):
    """Two epochs, each with validation, and a test: all batches, and the weights."""

    def run(way):
        L.seed_everything(7, verbose=False)
        return Whole(way, options).fit(tmp_path)

    seen, _ = check_way(run, way)
    assert len(seen) == 2 * (6 + 3) + 3


class Whole(L.LightningModule):
    """With loaders of its own."""

    def __init__(self, way, options):
        super().__init__()
        self.way, self.options = way, options
        self.layer = torch.nn.Linear(3, 2)
        self.seen = []

    def loader(self, count, **options):
        loader = DataLoader(
            Samples(count),
            batch_size=4,
            collate_fn=self.way.collate_fn(),
            worker_init_fn=self.way.worker_init_fn(),
            **options,
        )
        return self.way.wrap(loader)

    def train_dataloader(self):
        return self.loader(22, shuffle=True, **self.options)

    def val_dataloader(self):
        return self.loader(10)

    test_dataloader = val_dataloader

    def training_step(self, batch, index):
        self.seen.append(batch)
        return torch.nn.functional.cross_entropy(self.layer(batch["x"]), batch["label"])

    validation_step = test_step = training_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def fit(self, folder):
        trainer = L.Trainer(
            max_epochs=2,
            accelerator="cpu",
            default_root_dir=folder,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(self)
        trainer.test(self, verbose=False)
        return self.seen, dict(self.state_dict())
