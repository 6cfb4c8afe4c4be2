"""Batches of workers are sent from the shared memory in which they lie, and not written meanwhile.

The simulated accelerator runs copies as late as it may; one out of memory that is not registered
any more reads poison.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift
from support.device_fixtures import FAKE, NAME, needs_fake, wait_until
from tensorlift import _C
from tensorlift._data import registered
from tensorlift._ops import registered_bytes
from tensorlift._torch_internals import HostRegistration, host_registration

pytestmark = [needs_fake, pytest.mark.filterwarnings("ignore::DeprecationWarning")]  # of fork

BATCH = 8
IMAGE = (3, 64, 64)  # of uint8: 96 KiB a batch


class Images:
    def __init__(self, count=320, shape=IMAGE):
        self.count, self.shape = count, shape

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if i >= self.count:
            raise IndexError
        return {"image": np.full(self.shape, i % 251, np.uint8), "label": i}


def loader(count=320, *, workers=2, shape=IMAGE, **options):
    samples = Images(count, shape)
    return DataLoader(samples, BATCH, num_workers=workers, collate_fn=tensorlift.collate, **options)


def wrong(batches) -> int:
    """How many are not what the samples are."""
    count = 0
    for k, batch in enumerate(batches):
        labels = torch.arange(BATCH * k, BATCH * (k + 1))
        expected = (labels % 251).to(torch.uint8)
        images = batch["image"].cpu()
        is_right = torch.equal(batch["label"].cpu(), labels) and torch.equal(
            images, expected.reshape(-1, 1, 1, 1).expand_as(images)
        )
        count += not is_right
    return count


@pytest.fixture(autouse=True)
def nothing_stays_registered(fake):
    tensorlift.from_numpy([np.zeros(1)], device=NAME)  # torch calls no memory pinned before
    fake.reset_stats()
    yield
    gc.collect()
    wait_until(lambda: fake.registered_bytes() == 0 and registered_bytes.now() == 0)
    tensorlift.set_staging(registered_bytes=1 << 30)


def misses(fake) -> int:
    return fake.stats()["host_register_miss"] + fake.stats()["host_unregister_miss"]


def test_no_large_tensor_is_copied_by_the_host(fake):
    batches = list(tensorlift.DevicePrefetcher(loader(), NAME))
    stats = fake.stats()
    assert wrong(batches) == 0
    assert stats["h2d_registered_bytes"] == 320 * int(np.prod(IMAGE))
    assert stats["h2d_bytes"] - stats["h2d_registered_bytes"] == 320 * 8  # labels are packed
    assert stats["h2d_pageable"] == 0
    assert misses(fake) == 0


def test_each_segment_is_registered_once(fake):
    """But for those that have grown, or whose worker had given pages back."""
    assert wrong(list(tensorlift.DevicePrefetcher(loader(800), NAME))) == 0
    stats = fake.stats()
    assert stats["host_register"] == stats["host_unregister"] <= 24  # of 100 batches


def test_segments_are_registered_again_when_the_loader_is_iterated_again(fake):
    with_workers = tensorlift.DevicePrefetcher(loader(persistent_workers=True), NAME)
    for _ in range(3):
        assert wrong(list(with_workers)) == 0
        wait_until(lambda: fake.registered_bytes() == 0)
    assert fake.stats()["h2d_registered_bytes"] == 3 * 320 * int(np.prod(IMAGE))


def test_two_loaders_side_by_side(fake):
    pairs = zip(
        tensorlift.DevicePrefetcher(loader(workers=1), NAME),
        tensorlift.DevicePrefetcher(loader(workers=1), NAME),
        strict=True,
    )
    first, second = zip(*pairs, strict=True)
    assert wrong(first) == wrong(second) == 0
    assert misses(fake) == 0


def test_leaving_early_and_errors_take_registrations_back(fake):
    prefetcher = tensorlift.DevicePrefetcher(loader(), NAME)
    for _ in prefetcher:
        break
    wait_until(lambda: fake.registered_bytes() == 0)
    fake.fail_copy(5)
    with pytest.raises(RuntimeError, match="injected failure of a copy"):
        list(tensorlift.DevicePrefetcher(loader(), NAME))
    wait_until(lambda: fake.registered_bytes() == 0)
    assert misses(fake) == 0


def test_what_the_runtime_refuses_goes_through_staging_buffers(fake):
    fake.refuse_registration(0)
    batches = list(tensorlift.DevicePrefetcher(loader(), NAME))
    stats = fake.stats()
    assert (stats["host_register_miss"], stats["host_register"]) == (1, 0)
    assert wrong(batches) == 0


def test_a_refusal_is_not_reported_to_the_next_kernel(fake):
    runtime = host_registration(torch.device(NAME))
    memory = np.zeros(4096, np.uint8)
    fake.refuse_registration(0)
    assert not runtime.register(memory.ctypes.data, memory.nbytes)
    torch.zeros(1, device=NAME).fill_(1)


def test_no_more_than_allowed_is_registered(fake):
    limit = 3 * (BATCH * int(np.prod(IMAGE)))
    tensorlift.set_staging(registered_bytes=limit)
    seen = []
    batches = []
    for batch in tensorlift.DevicePrefetcher(loader(), NAME):
        seen.append(fake.registered_bytes())
        batches.append(batch)
    assert wrong(batches) == 0
    assert 0 < max(seen) <= limit
    assert misses(fake) == 0


def test_it_can_be_turned_off(fake):
    tensorlift.set_staging(registered_bytes=0)
    assert wrong(list(tensorlift.DevicePrefetcher(loader(), NAME))) == 0
    assert fake.stats()["host_register"] == 0
    for options, error in (
        ({"registered_bytes": -1}, ValueError),
        ({"registered_bytes": 1.5}, TypeError),
    ):
        with pytest.raises(error, match="registered_bytes: expected"):
            tensorlift.set_staging(chunk_bytes=8192, **options)
    assert tensorlift.staging().chunk_bytes != 8192
    kept = tensorlift.set_staging(registered_bytes=np.int64(1 << 30)).registered_bytes
    assert (kept, type(kept)) == (1 << 30, int)


def test_batches_that_are_kept_and_memory_that_is_given_back(fake):
    """`empty_cache()` unmaps what is idle, but nothing that is registered."""
    kept = []
    batches = []
    for batch in tensorlift.DevicePrefetcher(loader(), NAME):
        batches.append(batch)
        tensorlift.empty_cache()
        kept.append(batch["image"].sum())
    assert wrong(batches) == 0
    assert misses(fake) == 0


def test_varying_sizes(fake):
    """Segments grow, and their workers give pages back."""
    shapes = [(3, size, size) for size in (64, 200, 64, 300, 80, 64)]
    for shape in shapes:
        assert wrong(list(tensorlift.DevicePrefetcher(loader(80, shape=shape), NAME))) == 0
    assert misses(fake) == 0


def test_a_forked_child_leaves_the_parents_registrations_alone(fake):
    prefetcher = tensorlift.DevicePrefetcher(loader(), NAME)
    batches = iter(prefetcher)
    got = [next(batches)]
    before = fake.registered_bytes()
    assert before > 0
    child = os.fork()
    if child == 0:
        try:
            prefetcher.close()
            del batches, prefetcher
            gc.collect()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert fake.registered_bytes() >= before
    assert wrong([*got, *batches]) == 0


# ---- the rules, one by one


class Runtime(HostRegistration):
    """Says what was asked of it."""

    def __init__(self):
        self.log = []
        super().__init__(None, torch.device("cpu"))

    def register(self, address, nbytes):
        self.log.append(("register", address, nbytes))
        return True

    def unregister(self, address):
        self.log.append(("unregister", address))


class Event:
    def __init__(self, log):
        self.log, self.is_over = log, False

    def query(self):
        return self.is_over

    def synchronize(self):
        self.log.append("wait")
        self.is_over = True


@pytest.fixture
def pages(monkeypatch):
    """What _C.received_pages() says."""
    told = SimpleNamespace(value=(1 << 20, 4096, 0, None))
    monkeypatch.setattr(_C, "received_pages", lambda tensor: told.value)
    return told


LARGE = torch.zeros(registered.OWN_COPY_BYTES, dtype=torch.uint8)


def test_pages_that_a_worker_gave_back_are_registered_again(pages):
    runtime = Runtime()
    segments = registered.RegisteredSegments(runtime)
    segments.register([LARGE])
    segments.register([LARGE])
    pages.value = (1 << 20, 4096, 1, None)  # given back once
    segments.register([LARGE])
    pages.value = (1 << 20, 8192, 1, None)  # more are in use
    segments.register([LARGE])
    segments.close()
    at = 1 << 20
    assert runtime.log == [
        *(("register", at, 4096), ("unregister", at)),
        *(("register", at, 4096), ("unregister", at)),
        *(("register", at, 8192), ("unregister", at)),
    ]


def test_nothing_is_taken_back_before_copies_have_run(pages):
    runtime = Runtime()
    segments = registered.RegisteredSegments(runtime)
    segments.register([LARGE])
    segments.keep([LARGE], Event(runtime.log))
    segments.close()
    assert runtime.log[1:] == ["wait", ("unregister", 1 << 20)]


def test_batches_are_kept_until_copies_have_run_and_few_are():
    runtime = Runtime()
    segments = registered.RegisteredSegments(runtime)
    events = [Event(runtime.log) for _ in range(6)]
    for event in events[:4]:
        segments.keep([LARGE], event)
    assert runtime.log == []
    segments.keep([LARGE], events[4])
    assert runtime.log == ["wait"]
    events[1].is_over = True
    segments.keep([LARGE], events[5])
    assert runtime.log == ["wait"]


# ---- faults, each in a process of its own, must be noticed by what the tests above look at


def forget_batches():
    """Refilled before the event."""
    registered.RegisteredSegments.keep = lambda self, batch, event: None


def register_twice():
    def add(self, address, pages):
        self._runtime.register(address, pages.nbytes)
        self._pages[address] = pages

    registered.RegisteredSegments._add = add


def let_go_of_mappings():
    """Unmapped while registered."""
    received = _C.received_pages
    _C.received_pages = lambda tensor: (*received(tensor)[:3], None)


def never_take_back():
    registered.RegisteredSegments.close = lambda self: None


def no_fault():
    pass


def run_with(fault: str) -> None:
    """A process that looks at what the tests above look at."""
    globals()[fault]()
    tensorlift.from_numpy([np.zeros(1)], device=NAME)
    batches = []
    for batch in tensorlift.DevicePrefetcher(loader(640), NAME):
        batches.append(batch)
        if len(batches) % 8 == 0:
            torch.accelerator.synchronize()
            tensorlift.empty_cache()
    print("signs", wrong(batches), misses(FAKE), FAKE.registered_bytes())


FAULTS = (forget_batches, register_twice, let_go_of_mappings, never_take_back)


@pytest.mark.parametrize("fault", [no_fault, *FAULTS])
def test_a_fault_is_noticed(fault):
    here = Path(__file__).parent
    program = (
        f"import sys; sys.path[:0] = [{str(here.parent)!r}, {str(here)!r}]\n"
        f"import {Path(__file__).stem} as tests; tests.run_with({fault.__name__!r})"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=100
    )
    is_noticed = (run.returncode, run.stdout) != (0, "signs 0 0 0\n")
    assert is_noticed == (fault is not no_fault), run.stderr
