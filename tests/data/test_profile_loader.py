"""profile_loader names what a loader is slow for, and leaves the loader as it was.

What is slow sleeps for so long that a busy machine makes no difference. (Transfers: tests/device.)
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import pickle
import random
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    default_collate,
    get_worker_info,
)

import tensorlift
from tensorlift import profile_loader
from tensorlift._data.profile import loader as profile
from tensorlift._data.profile import report as report_module
from tensorlift._data.profile import trial, watch
from tensorlift._data.profile.core_seconds import core_seconds
from tensorlift._data.profile.log import CONSUMER, Lane, Log
from tensorlift._data.profile.run import Ran
from tensorlift._data.profile.shares import shares_by_lane, shares_by_place
from tensorlift._data.profile.verdict import Facts, advise, judge

SLOW = 0.03  # seconds

# Python 3.12 and newer: of forks beside the threads of other tests.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Samples(Dataset):
    def __init__(self, count=32, seconds=0.0):
        self.count = count
        self.seconds = seconds

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return {"x": np.full((2, 3), index, np.float32), "y": index}


def slow_collate(samples):
    time.sleep(4 * SLOW)
    return default_collate(samples)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(profile.machine, "cores", lambda: 2)


@pytest.fixture(autouse=True)
def no_worker_is_left():
    yield
    gc.collect()
    for worker in multiprocessing.active_children():
        worker.join(10)  # after an error torch 2.11 does not wait for it
    assert multiprocessing.active_children() == []


def check(report):
    """What holds for all reports."""
    for shares in (*report.shares.values(), *report.workers):
        assert sum(shares.values()) == pytest.approx(1)
        assert min(shares.values()) >= 0
    assert len(report.workers) == report.num_workers
    assert report.gain >= 1
    said, _, rest = str(report).partition("\n\n")
    assert said.replace("\n", " ") == f"{report.verdict}: {report.remedy}"
    assert max(map(len, said.splitlines())) <= 88
    assert rest.startswith(f"{report.batches} batches ")
    assert json.loads(json.dumps(report.as_dict()))["verdict"] == report.verdict
    return report


# ---- the verdict ------------------------------------------------------------------------------


def test_a_slow_dataset():
    loader = DataLoader(Samples(32, SLOW), batch_size=4, num_workers=2)
    report = check(profile_loader(loader, step=lambda batch: None))
    assert report.verdict == "reading"
    assert report.shares["worker"]["reading"] > 0.5
    assert report.shares["consumer"]["waiting"] > 0.5
    assert report.remedy.startswith("num_workers=8 instead of 2 (more than cores: ")
    assert report.gain == pytest.approx(4, rel=0.2)


def test_a_slow_collate_fn():
    loader = DataLoader(Samples(), batch_size=4, num_workers=2, collate_fn=slow_collate)
    report = check(profile_loader(loader))
    assert report.verdict == "collating"
    assert report.shares["worker"]["collating"] > 0.5
    assert "collate_fn=tensorlift.collate" in report.remedy  # it gives the same
    assert "measured" in report.remedy
    assert report.gain > 2


def test_a_slow_collate_fn_that_gives_another_batch():
    collate = partial(different_collate, seconds=4 * SLOW)
    loader = DataLoader(Samples(), batch_size=4, num_workers=2, collate_fn=collate)
    report = check(profile_loader(loader))
    assert report.verdict == "collating"
    assert report.remedy.startswith("Let tensorlift.Collate do what collate_fn does")


def different_collate(samples, seconds):
    time.sleep(seconds)
    return default_collate(samples)["x"]


def test_token_ids_are_no_arrays_where_collate_fn_pads_them():
    samples = [{"tokens": [1] * n, "label": 1} for n in range(20, 60)]
    report = check(profile_loader(DataLoader(samples, batch_size=20, collate_fn=pad_with_torch)))
    assert report.verdict == "collating"
    assert report.remedy.startswith("Let tensorlift.Collate do what collate_fn does")


def pad_with_torch(samples):
    tokens = [torch.tensor(sample["tokens"]) for sample in samples]
    return torch.nn.utils.rnn.pad_sequence(tokens), torch.tensor([s["label"] for s in samples])


def test_too_many_small_arrays():
    samples = [{str(i): np.full(3, i) for i in range(120)}] * 64
    report = check(profile_loader(DataLoader(samples, batch_size=8, num_workers=1)))
    assert report.verdict == "many small arrays"
    assert (report.arrays, report.nbytes, report.samples) == (120, 120 * 8 * 24, 8)
    assert "collate_fn=tensorlift.collate" in report.remedy
    assert "measured" in report.remedy
    assert report.gain > 1.1


def test_too_many_small_arrays_without_workers():
    samples = [[np.zeros(1)] * 500] * 40
    report = check(profile_loader(DataLoader(samples, batch_size=10)))
    assert report.verdict == "many small arrays"
    assert "measured" in report.remedy


def test_too_many_small_arrays_for_ours():
    samples = [[np.zeros(1)] * 500] * 40
    loader = DataLoader(samples, batch_size=10, collate_fn=tensorlift.collate)
    report = check(profile_loader(loader))
    assert report.verdict == "many small arrays"
    assert report.remedy.startswith("Let a sample have fewer arrays")
    assert "5000 in the samples of a batch, and 500 in the batch" in report.remedy


@pytest.mark.parametrize("workers", [0, 1])
def test_too_few_workers(workers):
    loader = DataLoader(Samples(32, SLOW), batch_size=4, num_workers=workers)
    report = check(profile_loader(loader, step=lambda batch: time.sleep(1.6 * SLOW)))
    assert report.verdict == "too few workers"
    # Making a batch takes 2.5 times as long as the step.
    assert report.remedy.startswith(f"num_workers=3 instead of {workers} (more than cores")
    assert report.gain == pytest.approx(2.5 if workers else 3.5, rel=0.3)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_slow_consumer(workers):
    loader = DataLoader(Samples(), batch_size=4, num_workers=workers)
    report = check(profile_loader(loader, step=lambda batch: time.sleep(2 * SLOW)))
    assert report.verdict == "the model"
    assert report.shares["consumer"]["the model"] > 0.5
    if workers:
        assert report.shares["worker"]["waiting"] > 0.5
    assert report.gain < 1.5


def test_large_batches_that_are_pickled():
    samples = [np.zeros(1 << 19)] * 12
    loader = DataLoader(samples, batch_size=1, num_workers=1, collate_fn=list)
    report = check(profile_loader(loader))
    assert report.verdict == "crossing"
    assert report.remedy.startswith("num_workers=0: ")  # the samples are there already


class SlowSampler(RandomSampler):
    def __iter__(self):
        for index in super().__iter__():
            time.sleep(SLOW)
            yield index


def test_a_slow_sampler():
    samples = Samples(24)
    loader = DataLoader(samples, 2, sampler=SlowSampler(samples), num_workers=1)
    report = check(profile_loader(loader))
    assert report.verdict == "sampling"
    assert report.shares["consumer"]["indices"] > 0.5


# ---- nothing changes --------------------------------------------------------------------------


class Noisy(Samples):
    """Draws of every generator, and has its worker's id."""

    place = "nowhere"

    def __getitem__(self, index):
        drawn = torch.rand(()).item(), random.random(), np.random.random()
        return {"x": np.full(2, index), "drawn": drawn, "place": self.place}


class NoisyStream(IterableDataset):
    def __iter__(self):
        worker = get_worker_info()
        number, of = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return iter([(i, random.random()) for i in range(number, 14, of)])


class WithGetitems(Noisy):
    def __getitems__(self, indices):
        return [self[index] for index in reversed(indices)]


def name_the_place(worker_id):
    get_worker_info().dataset.place = f"worker {worker_id}"


def batched(count=24, **options):
    """A batch_sampler, whose random numbers are of a generator of its own."""
    samples = Noisy(count)
    generator = torch.Generator().manual_seed(3)
    sampler = BatchSampler(RandomSampler(samples, generator=generator), 5, drop_last=False)
    return DataLoader(samples, batch_sampler=sampler, **options)


def spawned():
    options = {"num_workers": 1, "worker_init_fn": name_the_place}
    return DataLoader(Noisy(), 4, True, multiprocessing_context="spawn", **options)


LOADERS = {
    "no workers": lambda: DataLoader(Noisy(), 4, shuffle=True),
    "workers": lambda: DataLoader(
        Noisy(), 4, shuffle=True, num_workers=2, worker_init_fn=name_the_place
    ),
    "a generator": lambda: DataLoader(
        Noisy(), 4, shuffle=True, num_workers=1, generator=torch.Generator().manual_seed(1)
    ),
    "persistent workers": lambda: DataLoader(
        Noisy(), 4, shuffle=True, num_workers=2, persistent_workers=True, prefetch_factor=3
    ),
    "spawned workers": spawned,
    "a batch_sampler": batched,
    "a batch_sampler and workers": partial(batched, num_workers=2),
    "an iterable dataset": lambda: DataLoader(NoisyStream(), 4),
    "an iterable dataset and workers": lambda: DataLoader(NoisyStream(), 4, num_workers=2),
    "samples alone": lambda: DataLoader(Noisy(9), batch_size=None, num_workers=1),
    "__getitems__": lambda: DataLoader(WithGetitems(), 4, num_workers=1),
}


def seed():
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)


def state(loader):
    generators = [
        owner.generator.get_state().tolist()
        for owner in (loader, loader.sampler, getattr(loader.batch_sampler, "sampler", None))
        if getattr(owner, "generator", None) is not None
    ]
    here = (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist())
    return *here, generators


@pytest.mark.parametrize("name", LOADERS)
def test_the_same_batches_and_random_numbers(name):
    seed()
    loader = LOADERS[name]()
    if name == "spawned workers":  # which takes seconds
        loader.multiprocessing_context = None
    expected = list(loader)
    del loader
    loader = LOADERS[name]()
    attributes = dict(vars(loader))
    before = (seed(), state(loader))[1]
    seen = []
    report = check(profile_loader(loader, step=seen.append))
    assert repr(seen) == repr(expected)
    assert report.batches == len(expected)
    assert state(loader) == before
    assert vars(loader) == attributes


class OwnBatches(DataLoader):
    """Puts in a batch_sampler, as torchdata's StatefulDataLoader does."""

    def __init__(self):
        super().__init__(list(range(8)), batch_size=4)
        vars(self)["batch_sampler"] = [[7, 6], [5, 4, 3]]


def test_a_batch_sampler_of_the_loaders_class():
    seen = []
    profile_loader(OwnBatches(), step=lambda batch: seen.append(batch.tolist()))
    assert seen == [[7, 6], [5, 4, 3]]


def test_fewer_batches_than_there_are():
    seen = []
    loader = DataLoader(Samples(), 2, num_workers=1, persistent_workers=True)
    report = check(profile_loader(loader, 3, seen.append))
    assert report.batches == len(seen) == 3
    assert check(profile_loader(loader, 1)).batches == 1


def test_a_trial_leaves_no_trace():
    samples = [[np.zeros(1)] * 500] * 40
    loader = DataLoader(samples, 10, shuffle=True, generator=torch.Generator().manual_seed(1))
    seed()
    before = state(loader)
    assert "measured" in profile_loader(loader).remedy
    assert state(loader) == before


# ---- other loaders ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_pin_memory_without_an_accelerator(workers):
    loader = DataLoader(Samples(), 4, num_workers=workers, pin_memory=True)
    report = check(profile_loader(loader))
    assert "pin thread" not in report.shares
    assert "pinning" not in report.shares["consumer"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_prefetcher_for_the_cpu(workers):
    loader = DataLoader(Samples(), 4, num_workers=workers, collate_fn=list)
    seen = []
    wrapped = tensorlift.DevicePrefetcher(loader, "cpu")
    report = check(profile_loader(wrapped, step=seen.append))
    assert report.shares["consumer"]["transfer"] > 0
    assert isinstance(seen[0][0]["x"], torch.Tensor)
    assert len(seen) == report.batches == 8


class OutOfOrder(Samples):
    def __getitem__(self, index):
        time.sleep(0.05 if get_worker_info().id == 0 else 0)
        return index


def test_one_slow_worker():
    loader = DataLoader(OutOfOrder(20), batch_size=2, num_workers=2)
    seen = []
    report = check(profile_loader(loader, step=lambda batch: seen.extend(batch.tolist())))
    assert seen == list(range(20))
    slow, fast = report.workers
    assert slow["reading"] > 0.5 > fast["reading"]
    assert report.verdict == "reading"


def test_turns_of_a_trial():
    """Also in a worker that is spawned."""
    log = Log(CONSUMER, has_workers=False, is_pinned=False)
    made = pickle.loads(pickle.dumps(trial._InTurn(default_collate, log)))
    ways = [made.collate([1, 2])[1] for _ in range(11)]
    assert ways == ["compare", "theirs", "ours", *["theirs"] * 2, *["ours"] * 2, *["theirs"] * 4]
    other = trial._InTurn(list, log)
    assert [other.collate([1, 2]) for _ in range(3)] == [([1, 2], "different")] * 3


def test_what_is_ours():
    assert trial.is_ours(tensorlift.collate)
    assert trial.is_ours(partial(tensorlift.collate, collate_fn_map={}))
    assert trial.is_ours(tensorlift.Collate())
    assert not trial.is_ours(default_collate)
    with tensorlift.install():
        assert trial.is_ours(default_collate)


@pytest.mark.parametrize("workers", [0, 1])
def test_noting_what_is_in_a_batch_does_not_count(workers, monkeypatch):
    noted = watch._content

    def slow(*arguments, **options):
        time.sleep(10 * SLOW)
        return noted(*arguments, **options)

    monkeypatch.setattr(watch, "_content", slow)
    loader = DataLoader(Samples(16, SLOW), batch_size=4, num_workers=workers)
    report = check(profile_loader(loader))
    if workers == 0:
        assert report.step_seconds < 8 * SLOW
    assert report.shares["worker" if workers else "consumer"]["reading"] > 0.5


def test_installed():
    """default_collate is ours then, in workers as well."""
    with tensorlift.install():
        loader = DataLoader([[np.zeros(1)] * 500] * 40, 10)
        report = check(profile_loader(loader))
    assert report.remedy.startswith("Let a sample have fewer arrays")


def test_what_would_be_copied():
    samples = [{"a": np.zeros((3, 4)), "b": np.zeros(3, ">f4"), "text": "a"} for _ in range(8)]
    report = check(profile_loader(DataLoader(samples, 2, collate_fn=list)))
    assert (report.explanation.shared, report.explanation.copied) == (2, 2)
    assert report.as_dict()["explanation"]["reasons"] == {"foreign byte order": 2}
    assert (
        "In samples of a batch: 4 arrays: 2 shared (192 B), 2 copied (24 B); "
        "foreign byte order: 2\n"
    ) in str(report)


# ---- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (([1],), TypeError, "loader: expected a torch.utils.data.DataLoader, .*, got list"),
        (
            (tensorlift.DevicePrefetcher([1], "cpu"),),
            TypeError,
            "got a DevicePrefetcher around list. Pass the DataLoader",
        ),
        ((DataLoader([1]), 0), ValueError, "batches: expected at least 1, got 0"),
        ((DataLoader([1]), 1.5), TypeError, "batches: expected an int, got 1.5"),
        ((DataLoader([1]), True), TypeError, "batches: expected an int, got True"),
        ((DataLoader([1]), 1, 2), TypeError, "step: expected a function of a batch.*got int"),
        ((DataLoader([]),), ValueError, "loader: expected at least one batch, got none"),
    ],
)
def test_bad_arguments(arguments, kind, message):
    with pytest.raises(kind, match=message):
        profile_loader(*arguments)


class Elsewhere(DataLoader):
    def __iter__(self):
        return iter([1, 2])


def test_a_loader_that_takes_its_batches_from_elsewhere():
    with pytest.raises(TypeError, match="got some that a Elsewhere takes from elsewhere"):
        profile_loader(Elsewhere([1]))


class Broken(Samples):
    def __getitem__(self, index):
        if index == 5:
            raise OSError("the disk is gone")
        return index


@pytest.mark.parametrize("workers", [0, 1])
def test_exceptions_of_the_loader_are_passed_on(workers):
    seed()
    loader = DataLoader(Broken(), 2, num_workers=workers)
    before = state(loader)
    with pytest.raises(OSError, match="the disk is gone"):
        profile_loader(loader)
    assert state(loader) == before


def test_exceptions_of_the_step_are_passed_on():
    def step(batch):
        raise KeyError("weights")

    with pytest.raises(KeyError, match="weights"):
        profile_loader(DataLoader(Samples(), num_workers=1), step=step)


# ---- how it is summed up, and what is advised -------------------------------------------------


def ran(*intervals, delivered=(0.0, 10.0)):
    log = Log(CONSUMER, has_workers=True, is_pinned=False)
    for interval in intervals:
        log.add(*interval)
    return Ran(log, list(delivered), 0.0, delivered[0], delivered[-1])


def test_shares_are_of_the_time_from_the_first_batch_to_the_last():
    worker, other = Lane("worker", 0), Lane("worker", 1)
    by_lane = shares_by_lane(
        ran(
            (worker, "reading", -5.0, 4.0),
            (worker, "collating", 4.0, 5.0),
            (worker, "sending", 5.0, 6.0),  # its time ends with its last batch
            (other, "reading", -9.0, -8.0),
            (other, "collating", -8.0, -6.0),  # before all others
            (CONSUMER, "the model", 0.0, 1.0),
            (CONSUMER, "the model", 9.0, 12.0),
        )
    )
    assert by_lane == {
        worker: {"reading": 0.8, "collating": 0.2, "sending": 0.0, "waiting": 0.0},
        other: pytest.approx({"reading": 1 / 3, "collating": 2 / 3, "waiting": 0.0}),
        CONSUMER: {"the model": 0.2, "waiting": 0.8},
    }
    assert shares_by_place(by_lane)["worker"]["sending"] == 0.0


def test_a_worker_that_pickles_while_it_reads_has_no_more_than_its_time():
    worker = Lane("worker", 0)
    (shares,) = shares_by_lane(
        ran(
            (worker, "reading", 0.0, 9.0),
            (worker, "collating", 9.0, 10.0),
            (worker, "sending", 0.0, 10.0),
        )
    ).values()
    assert shares == {"reading": 0.45, "collating": 0.05, "sending": 0.5, "waiting": 0.0}


def facts(shares, **known):
    busiest = {where: 1 - of.get("waiting", 0.0) for where, of in shares.items()}
    defaults = {"num_workers": 2, "cores": 8, "cpu": 1.0, "leaves": 32.0, "arrays": 2.0}
    defaults |= {"numbers": 0.0, "step": 0.1, "nbytes": 1e6, "pickled": 0.0}
    return Facts(shares=shares, busiest=busiest, **{**defaults, **known})


WORKERS_READ = {
    "worker": {"reading": 0.9, "collating": 0.1, "waiting": 0.0},
    "consumer": {"the model": 0.2, "waiting": 0.8},
}


@pytest.mark.parametrize(
    ("known", "verdict", "remedy", "gain"),
    [
        # Each of 2 is busy all the time; at 20 % of it the consumer would be.
        ({}, "too few workers", "num_workers=8 instead of 2: about 4 times as many", 4),
        ({"num_workers": 4}, "too few workers", "num_workers=8 instead of 4: about 2 ", 2),
        ({"cpu": 0.25}, "too few workers", "num_workers=10 instead of 2 (more than", 5),
        ({"num_workers": 8}, "reading", "Let the dataset do less", 5),
        ({"num_workers": 8, "cpu": 0.4}, "reading", "num_workers=20 instead of 8 (more", 2.5),
    ],
)
def test_advice_on_reading(known, verdict, remedy, gain):
    known = facts(WORKERS_READ, **known)
    advice = advise(known, judge(known))
    assert judge(known) == verdict
    assert advice.remedy.startswith(remedy)
    assert advice.gain == pytest.approx(gain)


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="needs Linux")
def test_a_core_that_others_have_is_needed_all_the_same():
    """Whoever waits for a core would gain nothing by more workers, as one who waits for a disk."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    program = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    try:
        with subprocess.Popen(program, stdout=subprocess.PIPE) as other:
            other.stdout.readline()
            began = time.perf_counter(), time.process_time(), core_seconds()
            while time.process_time() < began[1] + 0.3:
                pass
            ended = time.perf_counter(), time.process_time(), core_seconds()
            other.kill()
    finally:
        os.sched_setaffinity(0, allowed)
    took, on_core, needed = (end - begin for end, begin in zip(ended, began, strict=True))
    assert on_core < 0.8 * took  # the other has had its share
    assert needed > 0.9 * took


def test_advice_on_reading_without_workers():
    known = facts({"consumer": {"reading": 0.6, "collating": 0.2, "the model": 0.2}}, num_workers=0)
    assert judge(known) == "too few workers"
    advice = advise(known, "too few workers")
    assert advice.remedy.startswith("num_workers=4 instead of 0")
    assert advice.gain == pytest.approx(5)


@pytest.mark.parametrize(
    ("leaves", "verdict"), [(5000.0, "many small arrays"), (32.0, "collating")]
)
def test_batches_that_take_long_to_free_have_not_crossed_where_there_are_no_workers(
    leaves, verdict
):
    shares = {"consumer": {"freeing": 0.6, "collating": 0.2, "waiting": 0.2}}
    assert judge(facts(shares, num_workers=0, leaves=leaves, step=0.01, nbytes=4e4)) == verdict


def test_a_model_that_leaves_little_to_gain():
    shares = {
        "worker": {"reading": 1.0, "waiting": 0.0},
        "consumer": {"the model": 0.85, "waiting": 0.15},
    }
    known = facts(shares)
    assert judge(known) == "the model"
    assert advise(known, "the model").gain == pytest.approx(1 / 0.85)


def test_advice_on_pinning_and_transfer():
    consumer = {"the model": 0.5, "waiting": 0.5}
    known = facts({"pin thread": {"receiving": 0.2, "pinning": 0.8}, "consumer": consumer})
    assert judge(known) == "pinning"
    assert advise(known, "pinning").gain == pytest.approx(2)
    known = facts({"transfer thread": {"receiving": 0.2, "transfer": 0.8}, "consumer": consumer})
    assert judge(known) == "transfer"
    assert advise(known, "transfer").gain == pytest.approx(1 / 0.6)


CROSSING = {
    "worker": {"reading": 0.8, "sending": 0.2},
    "consumer": {"sending": 0.1, "receiving": 0.7, "the model": 0.1, "waiting": 0.1},
}


@pytest.mark.parametrize(
    ("known", "remedy", "gain"),
    [
        ({"pickled": 1e6}, "Let collate_fn return tensors", 1.25),
        ({}, "Send less than 977 KiB a batch", 1.25),
        ({"num_workers": 1, "pickled": 1e6}, "Let collate_fn return tensors", 1.25),
    ],
)
def test_advice_on_crossing(known, remedy, gain):
    known = facts(CROSSING, **known)
    advice = advise(known, "crossing")
    assert advice.remedy.startswith(remedy)
    assert advice.gain == pytest.approx(gain)


def test_advice_where_workers_cost_more_than_they_save():
    known = facts({**CROSSING, "worker": {"reading": 0.2, "waiting": 0.8}}, num_workers=1)
    advice = advise(known, "crossing")
    assert advice.remedy.startswith("num_workers=0: ")
    assert advice.gain == pytest.approx(0.9 / (0.2 + 0.1))


def test_a_trial_is_what_it_says():
    known = facts(
        {
            "worker": {"collating": 0.6, "sending": 0.4},
            "consumer": {"receiving": 0.5, "waiting": 0.5},
        }
    )
    measured = trial.Trial(trial.Cost(0.08, 0.02), trial.Cost(0.02, 0.004))
    advice = advise(known, judge(known), measured)
    assert "24 ms instead of 100 ms (4.2 times as fast, measured)" in advice.remedy
    assert advice.gain == pytest.approx(4)  # of the worker's share
    much = trial.Trial(trial.Cost(0.998, 0.002), trial.Cost(0.004, 0.001))
    assert "(200 times as fast, measured)" in advise(known, judge(known), much).remedy


# ---- what is shown ----------------------------------------------------------------------------


def test_the_table():
    loader = DataLoader(Samples(), 4, num_workers=2)
    text = str(profile_loader(loader, step=lambda batch: time.sleep(2 * SLOW)))
    assert "\n8 batches of 4 samples from 2 workers: " in text
    assert "\nIn a batch: 2 arrays, 128 B\n" in text
    assert re.search(r"^who +does +a batch  share$", text, re.MULTILINE)
    assert re.search(r"^ +receiving +[\d.]+ [mu]s +\d+%$", text, re.MULTILINE)
    assert "\nworker  reading  collating  sending  waiting\n" in text


def test_samples_without_arrays():
    text = str(profile_loader(DataLoader([1.0, 2.0], 2)))
    assert "In samples" not in text


def test_workers_that_are_many_are_not_all_listed():
    report = profile_loader(DataLoader(Samples(4), 4))
    shares = {"reading": 1.0}
    many = vars(report) | {"num_workers": 20, "workers": (shares,) * 20}
    rows = str(tensorlift.LoaderReport(**many)).splitlines()[-9:]
    assert [row.split()[0] for row in rows] == [*"-0123456"[1:], "...", "19"][-9:]


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    report = profile_loader(DataLoader(Samples(), 4, num_workers=2))
    figure = report.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000
    above, below = figure.axes
    names = ["worker 0", "worker 1", "consumer"]
    assert [label.get_text() for label in above.get_yticklabels()] == names
    assert [label.get_text() for label in below.get_yticklabels()] == names
    assert above.get_xlim() == (0, 1)


def test_a_picture_without_matplotlib(monkeypatch):
    monkeypatch.setattr(report_module, "find_spec", lambda name: None)
    report = profile_loader(DataLoader(Samples(), 4))
    with pytest.raises(ImportError, match=r"plot: expected matplotlib, .* pip install"):
        report.plot()
