"""Prefetched batches under libraries that train, where the thread runs ahead of them."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift
from support.device_fixtures import NAME

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),
]

ROWS = list(range(20))


def make(is_wrapped, loader):
    return tensorlift.DevicePrefetcher(loader, NAME) if is_wrapped else loader


@pytest.mark.parametrize("options", [{}, {"limit_train_batches": 2}], ids=str)
def test_lightning_over_several_epochs(options, tmp_path):
    lightning = pytest.importorskip("lightning", minversion="2.4")

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.seen = []

        def training_step(self, batch, index):  # Lightning has brought it to its own device
            self.seen.append((self.current_epoch, batch.tolist()))
            return self.layer(torch.rand(len(batch), 1)).sum()  # draws as well

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    seen = []
    for is_wrapped in (False, True):
        lightning.seed_everything(3, verbose=False)
        model = Model()
        trainer = lightning.Trainer(
            max_epochs=3,
            accelerator="cpu",
            default_root_dir=tmp_path,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
        trainer.fit(model, make(is_wrapped, DataLoader(ROWS, batch_size=3, shuffle=True)))
        seen.append(model.seen)
    assert seen[0] == seen[1]
    assert len({str(rows) for _, rows in seen[0]}) == len(seen[0]) >= 6


def test_accelerate_knows_which_batch_is_at_work():
    accelerate = pytest.importorskip("accelerate", minversion="1.0")
    seen = []
    for is_wrapped in (False, True):
        accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=3)
        accelerate.utils.set_seed(4)
        loader = accelerator.prepare(DataLoader(ROWS, batch_size=3, shuffle=True))
        loader.base_dataloader = make(is_wrapped, loader.base_dataloader)
        state = accelerator.gradient_state
        seen.append([])
        for _ in range(2):
            for batch in loader:
                with accelerator.accumulate(torch.nn.Linear(1, 1)):
                    seen[-1].append((batch.tolist(), state.sync_gradients, state.remainder))
    assert seen[0] == seen[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
@pytest.mark.parametrize("workers", [0, 1])
def test_a_stateful_loader_goes_on_behind_the_last_batch_delivered(workers):
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")

    def loader():
        plain = torchdata.StatefulDataLoader(ROWS, batch_size=3, num_workers=workers)
        return tensorlift.DevicePrefetcher(plain, NAME, depth=3)

    first = loader()
    batches = iter(first)
    seen = [next(batches).tolist() for _ in range(2)]
    state = first.state_dict()
    batches.close()
    second = loader()
    second.load_state_dict(state)
    seen += [batch.tolist() for batch in second]
    assert [row for rows in seen for row in rows] == ROWS
