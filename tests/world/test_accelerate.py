"""accelerate: a ``tensorlift.DevicePrefetcher`` inside of a loader that ``prepare()`` has returned.

``prepare()`` takes a loader apart and makes one of its own, which sends batches itself; so it does
with a DevicePrefetcher, as with the loader that this wraps. What it returns knows where an epoch
ends, and how many rows are left over, for the batch that is at work: so batches are prefetched
inside of it, ``loader.base_dataloader = DevicePrefetcher(loader.base_dataloader, device)``.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

import tensorlift
from support.ways import Samples, check, in_each_way

accelerate = pytest.importorskip("accelerate", minversion="1.0")
data_loader = pytest.importorskip("accelerate.data_loader")

ROWS = list(range(20))


def make(is_wrapped, **options):
    loader = DataLoader(ROWS, batch_size=3, **options)
    return tensorlift.DevicePrefetcher(loader, "cpu") if is_wrapped else loader


def epochs_of(loader, epochs=3):
    return [[batch.tolist() for batch in loader] for _ in range(epochs)]


@pytest.mark.parametrize("seedable", [False, True])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_prepared_prefetcher_gives_a_rank_what_the_prepared_loader_gives(rank, seedable):
    seen = []
    for is_wrapped in (False, True):
        accelerate.utils.set_seed(4)
        loader = data_loader.prepare_data_loader(
            make(is_wrapped, shuffle=True),
            num_processes=2,
            process_index=rank,
            use_seedable_sampler=seedable,
        )
        seen.append(epochs_of(loader))
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[0][1]


def test_prepare_sees_a_loader(recwarn):
    accelerator = accelerate.Accelerator(cpu=True)
    loader = accelerator.prepare(make(True))
    assert isinstance(loader, DataLoader)
    assert epochs_of(loader, 1) == epochs_of(make(False), 1)


def test_set_epoch_reaches_the_sampler():
    sampler = DistributedSampler(ROWS, 2, 1)
    loader = accelerate.Accelerator(cpu=True).prepare(make(True, sampler=sampler))
    loader.set_epoch(2)
    assert sampler.epoch == 2


def steps_of(is_inside):
    """The batches of two epochs, and what accelerate says while each is at work."""
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=3)
    accelerate.utils.set_seed(4)
    loader = accelerator.prepare(make(False, shuffle=True))
    if is_inside:
        loader.base_dataloader = tensorlift.DevicePrefetcher(
            loader.base_dataloader, accelerator.device
        )
    steps = []
    for _ in range(2):
        for batch in loader:
            with accelerator.accumulate(torch.nn.Linear(1, 1)):
                state = accelerator.gradient_state
                steps.append((batch.tolist(), state.sync_gradients, state.end_of_dataloader))
                steps.append(state.remainder)
    return steps


def test_a_prefetcher_inside_of_a_prepared_loader_changes_nothing():
    assert steps_of(is_inside=True) == steps_of(is_inside=False)


@in_each_way
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    "options",
    [
        {"split_batches": True},
        {"even_batches": False},
        {"put_on_device": True, "device": torch.device("cpu")},
        {"use_seedable_sampler": True, "data_seed": 6},
        {"workers": 2},
    ],
    ids=str,
)
def test_what_a_rank_gets(way, rank, options):
    """Of two epochs, and of one that begins later."""
    options = dict(options)
    workers = options.pop("workers", 0)

    def run(way):
        loader = DataLoader(
            Samples(),
            batch_size=4,
            shuffle=True,
            collate_fn=way.collate_fn(),
            num_workers=workers,
        )
        loader = data_loader.prepare_data_loader(
            way.wrap(loader), num_processes=2, process_index=rank, **options
        )
        seen = [list(loader) for _ in range(2)]
        return [*seen, list(accelerate.skip_first_batches(loader, 1))]

    first, _, later = check(run, way)
    assert len(later) == len(first) - 1
