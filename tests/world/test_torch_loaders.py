"""torch's own loaders, whose options other libraries pass on; batches on their way to a disk."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

import tensorlift
from against_torch.outcome import described
from support.ways import PLAIN, Samples, check, in_each_way

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads

FORKED = {"num_workers": 2, "multiprocessing_context": "fork"}


@in_each_way
@pytest.mark.parametrize(
    "options",
    [
        {},
        FORKED,
        FORKED | {"persistent_workers": True, "prefetch_factor": 1},
        FORKED | {"in_order": False, "num_workers": 1},
        {"num_workers": 1, "multiprocessing_context": "spawn", "persistent_workers": True},
    ],
    ids=str,
)
def test_epochs_of_a_shuffled_loader(way, options):
    def run(way):
        loader = DataLoader(
            Samples(),
            batch_size=4,
            shuffle=True,
            collate_fn=way.collate_fn(),
            worker_init_fn=way.worker_init_fn(),
            **options,
        )
        loader = way.wrap(loader)
        return [list(loader) for _ in range(2)]

    first, second = check(run, way)
    assert first[0]["row"].tolist() != second[0]["row"].tolist()


@in_each_way
def test_batch_samplers_and_what_is_left_over(way):
    def run(way):
        sampler = BatchSampler(RandomSampler(Samples()), 5, drop_last=True)
        loader = DataLoader(Samples(), batch_sampler=sampler, collate_fn=way.collate_fn(), **FORKED)
        return list(way.wrap(loader))

    assert len(check(run, way)) == 4


READ_AND_SAY = """
import pickle, sys, torch
from against_torch.outcome import described

theirs, ours = ([pickle.load(open(f"{folder}/pickled", "rb")), torch.load(f"{folder}/saved")]
                for folder in sys.argv[1:])
assert described(theirs) == described(ours)
assert "tensorlift" not in sys.modules
"""


@in_each_way
def test_batches_that_were_written_to_a_disk_are_read_elsewhere(way, tmp_path, request):
    """By a process that has no tensorlift in it, and after the workers have ended."""

    def write(way):
        loader = DataLoader(Samples(8), batch_size=4, collate_fn=way.collate_fn(), **FORKED)
        batches = list(way.wrap(loader))
        folder = tmp_path / str(way)
        folder.mkdir()
        (folder / "pickled").write_bytes(pickle.dumps(batches))
        torch.save(batches, folder / "saved")
        return [len((folder / name).read_bytes()) for name in ("pickled", "saved")]

    check(write, way)  # files of the same size, too
    folders = [str(tmp_path / str(each)) for each in (PLAIN, way)]
    tests = request.config.rootpath / "tests"
    command = [sys.executable, "-c", READ_AND_SAY, *folders]
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("options", [{}, FORKED], ids=str)
def test_samples_without_a_batch_are_converted(options):
    theirs = list(DataLoader(Samples(6), batch_size=None, **options))
    ours = list(DataLoader(Samples(6), batch_size=None, collate_fn=tensorlift.convert, **options))
    assert described(ours) == described(theirs)
