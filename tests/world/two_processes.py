"""Two gloo processes: each compares its batches, bit by bit, with and without tensorlift.

python -m torch.distributed.run --standalone --nproc-per-node=2 two_processes.py PART
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as pytest does it

import torch
from torch import distributed
from torch.utils.data import DataLoader, DistributedSampler

from support.ways import WAYS, Samples, check

COUNT = 22  # not the same number for both


def distributed_sampler() -> None:
    distributed.init_process_group("gloo")
    for workers in (0, 2):
        for way in WAYS:
            first, second = check(lambda way, workers=workers: epochs_of(way, workers), way)
            rows = [torch.cat([batch["row"] for batch in epoch]) for epoch in (first, second)]
            assert not torch.equal(*rows)
            everywhere = [torch.empty_like(rows[0]) for _ in range(2)]
            distributed.all_gather(everywhere, rows[0])
            assert sorted(torch.cat(everywhere).tolist()) == list(range(COUNT))
    distributed.destroy_process_group()


def epochs_of(way, workers):
    sampler = DistributedSampler(Samples(COUNT), seed=1)
    loader = DataLoader(
        Samples(COUNT),
        batch_size=4,
        sampler=sampler,
        num_workers=workers,
        collate_fn=way.collate_fn(),
    )
    loader = way.wrap(loader)
    epochs = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        epochs.append(list(loader))
    return epochs


def of_accelerate() -> None:
    import accelerate
    from accelerate.utils import DataLoaderConfiguration

    for options in (
        {},
        {"split_batches": True},
        {"even_batches": False},
        {"dispatch_batches": True},
        {"dispatch_batches": True, "split_batches": True},
        {"use_seedable_sampler": True},
    ):
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=False)
        accelerate.state.GradientState._reset_state()
        accelerator = accelerate.Accelerator(
            cpu=True, dataloader_config=DataLoaderConfiguration(**options)
        )
        assert accelerator.num_processes == 2
        for way in WAYS:
            check(lambda way, accelerator=accelerator: prepared(accelerator, way), way)
    accelerator.end_training()


class Numbers(Samples):
    """What accelerate sends to the other process: tensors alone, of dtypes that gloo knows."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return {name: sample[name] for name in ("image", "x", "row", "weight")}


def prepared(accelerator, way):
    """Two epochs, and what is left of a third; the wrapper is where the manual has it."""
    import accelerate

    accelerate.utils.set_seed(4)
    loader = DataLoader(Numbers(COUNT), batch_size=4, shuffle=True, collate_fn=way.collate_fn())
    loader = accelerator.prepare(loader)
    is_dispatched = isinstance(loader, accelerate.data_loader.DataLoaderDispatcher)
    assert is_dispatched == bool(accelerator.dispatch_batches)
    loader.base_dataloader = way.wrap(loader.base_dataloader)
    seen = [list(loader) for _ in range(2)]
    seen.append(list(accelerate.skip_first_batches(loader, 2)))
    if accelerator.even_batches:  # what is gathered must be of one shape
        seen.append(accelerator.gather_for_metrics(seen[0][-1]["row"]))
    return seen


if __name__ == "__main__":
    {"distributed_sampler": distributed_sampler, "accelerate": of_accelerate}[sys.argv[1]]()
