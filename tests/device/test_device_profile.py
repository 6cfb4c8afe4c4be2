"""profile_loader with batches that go to a device, and with torch's thread that pins them."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift
from support.device_fixtures import NAME, needs_fake

SAMPLES = [{"x": np.full((4, 5), i, np.float32), "y": i} for i in range(24)]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forks beside threads


def check(report):
    for shares in report.shares.values():
        assert sum(shares.values()) == pytest.approx(1)
    threads = [t.name for t in threading.enumerate()]
    assert "tensorlift.DevicePrefetcher" not in threads
    return report


@pytest.mark.parametrize("workers", [0, 1])
@needs_fake
def test_a_slow_transfer(workers, fake):
    fake.set_mode(fake.THREAD, 60_000)  # microseconds, before each copy
    loader = DataLoader(SAMPLES, batch_size=4, num_workers=workers)
    report = check(tensorlift.profile_loader(tensorlift.DevicePrefetcher(loader, NAME)))
    assert report.verdict == "transfer"
    assert report.shares["transfer thread"]["transfer"] > 0.5
    assert report.remedy.startswith("Send less than 352 B a batch")


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_those_of_the_prefetcher(workers):
    loader = DataLoader(SAMPLES, batch_size=4, num_workers=workers)
    seen = []

    def step(batch):
        assert batch["x"].device == torch.device(NAME, 0)
        seen.append(batch["y"].cpu().tolist())

    report = check(tensorlift.profile_loader(tensorlift.DevicePrefetcher(loader, NAME), step=step))
    assert seen == [batch["y"].tolist() for batch in loader]
    assert list(report.shares)[-2:] == ["transfer thread", "consumer"]


@needs_fake
def test_the_steps_work_on_the_device_is_the_models(fake):
    fake.set_mode(fake.THREAD, 60_000)
    weights = torch.zeros(4, device=NAME)
    other = torch.ones(4, device=NAME)

    def step(batch):
        weights.copy_(other, non_blocking=True)

    report = check(tensorlift.profile_loader(DataLoader(SAMPLES, batch_size=4), step=step))
    assert report.verdict == "the model"
    assert report.step_seconds > 0.05


def test_the_thread_that_pins():
    loader = DataLoader(SAMPLES, batch_size=4, num_workers=1, pin_memory=True)
    seen = []
    report = check(tensorlift.profile_loader(loader, step=seen.append))
    assert all(batch["x"].is_pinned() for batch in seen)
    assert set(report.shares["pin thread"]) == {"receiving", "pinning", "waiting"}
    assert "receiving" not in report.shares["consumer"]


def test_pinning_without_workers():
    loader = DataLoader(SAMPLES, batch_size=4, pin_memory=True)
    report = check(tensorlift.profile_loader(loader))
    assert report.shares["consumer"]["pinning"] > 0


class SlowToPin(torch.Tensor):
    def pin_memory(self, device=None):
        time.sleep(0.1)
        return self


def slow_to_pin(samples):
    return torch.zeros(2).as_subclass(SlowToPin)


def test_slow_pinning():
    loader = DataLoader(SAMPLES, 4, num_workers=1, pin_memory=True, collate_fn=slow_to_pin)
    report = check(tensorlift.profile_loader(loader))
    assert report.verdict == "pinning"
    assert report.shares["pin thread"]["pinning"] > 0.5


def test_an_exception_ends_the_thread():
    def step(batch):
        raise KeyError("weights")

    loader = tensorlift.DevicePrefetcher(DataLoader(SAMPLES, num_workers=1), NAME)
    with pytest.raises(KeyError, match="weights"):
        tensorlift.profile_loader(loader, step=step)
    assert "tensorlift.DevicePrefetcher" not in [t.name for t in threading.enumerate()]
