"""What a rank gets from Lightning in each epoch, of plain loaders and of DevicePrefetchers.

python lightning_ranks.py FOLDER  # writes FOLDER/0.json and FOLDER/1.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lightning
import torch
from torch.utils.data import DataLoader

import tensorlift

RANKS = 2
EPOCHS = 3
ROWS = list(range(20))


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []

    def on_train_epoch_start(self):
        self.seen.append([])

    def training_step(self, batch, index):
        self.seen[-1].extend(batch.tolist())
        return self.layer(batch[:, None].float()).sum()

    def predict_step(self, batch, index):
        self.seen.append(batch.tolist())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Data(lightning.LightningDataModule):
    def __init__(self, is_wrapped):
        super().__init__()
        self.is_wrapped = is_wrapped

    def loader(self, **options):
        loader = DataLoader(ROWS, batch_size=3, **options)
        return tensorlift.DevicePrefetcher(loader, "cpu") if self.is_wrapped else loader

    def train_dataloader(self):
        return self.loader(shuffle=True)

    def predict_dataloader(self):
        return self.loader()


def seen_by_a_rank(folder, is_wrapped, is_in_hook):
    """Of the epochs of a training, and of a prediction's batches. (The rank, too.)"""
    lightning.seed_everything(3, verbose=False)
    model, data = Model(), Data(is_wrapped)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        devices=RANKS,
        strategy="ddp",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data if is_in_hook else data.train_dataloader())
    epochs, model.seen = model.seen, []
    trainer.predict(model, data if is_in_hook else data.predict_dataloader())
    return trainer.global_rank, {"epochs": epochs, "predicted": model.seen}


def main(folder):
    seen = {}
    for loader in ("plain", "wrapped"):
        for place in ("hook", "argument"):
            rank, result = seen_by_a_rank(folder, loader == "wrapped", place == "hook")
            seen[f"{loader}, {place}"] = result
    Path(folder, f"{rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1])
