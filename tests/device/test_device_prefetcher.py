"""DevicePrefetcher: batches in order, ready on the consumer's stream; its thread always ends."""

from __future__ import annotations

import gc
import threading
import time
import traceback

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift
from device_fixtures import NAME, needs_fake

DEVICE = torch.device(NAME, 0)


def make_batches(count=6, n=5000):
    return [
        {"x": np.full(n, i, np.float32), "y": [torch.full((3,), i), str(i)], "z": np.int64(i)}
        for i in range(count)
    ]


def check(batch, i, n=5000):
    assert batch["x"].device == DEVICE
    assert batch["x"].cpu().tolist() == [i] * n
    assert batch["y"][0].cpu().tolist() == [i] * 3
    assert batch["y"][1] == str(i)
    assert batch["z"].cpu().item() == i


def running() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "tensorlift.DevicePrefetcher"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    assert not running()


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_batches_in_order_and_ready(depth):
    loader = tensorlift.DevicePrefetcher(make_batches(), NAME, depth=depth)
    assert len(loader) == 6
    for _ in range(2):
        count = 0
        for i, batch in enumerate(loader):
            check(batch, i)
            count += 1
        assert count == 6


@pytest.mark.usefixtures("small_ring")
def test_memory_is_not_reused_while_the_consumer_has_work_for_it(fake):
    outs = []
    for batch in tensorlift.DevicePrefetcher(make_batches(20), NAME):
        out = torch.empty_like(batch["x"])
        out.copy_(batch["x"], non_blocking=True)  # waits on the consumer's stream
        outs.append(out)
    assert [int(out.cpu()[17]) for out in outs] == list(range(20))


def test_on_another_current_stream():
    stream = torch.Stream(NAME)
    with stream:
        for i, batch in enumerate(tensorlift.DevicePrefetcher(make_batches(), NAME)):
            check(batch, i)


@needs_fake
def test_the_host_does_not_wait(fake):
    fake.reset_stats()
    consumed = list(tensorlift.DevicePrefetcher(make_batches(2), NAME))
    stats = fake.stats()
    assert (stats["stream_sync"], stats["device_sync"], stats["h2d_with_gil"]) == (0, 0, 0)
    for i, batch in enumerate(consumed):
        check(batch, i)


def test_the_source_may_be_reused_by_the_loader():
    def loader():
        array = np.zeros(5000)
        for i in range(10):
            array.fill(i)  # as loaders with a buffer of their own do
            yield array

    results = list(tensorlift.DevicePrefetcher(loader(), NAME))
    assert [t.cpu().tolist() for t in results] == [[i] * 5000 for i in range(10)]


def test_no_more_batches_than_asked_for_are_taken():
    taken = []

    def loader():
        for i in range(100):
            taken.append(i)
            yield np.ones(3)

    batches = iter(tensorlift.DevicePrefetcher(loader(), NAME, depth=2))
    next(batches)
    time.sleep(0.1)
    assert len(taken) <= 1 + 2 + 1  # the consumer's, those that wait, the one that has no place
    batches.close()


def failing():
    yield np.ones(1)
    raise OSError("disk")


def test_exceptions_come_in_their_place_with_their_traceback():
    batches = iter(tensorlift.DevicePrefetcher(failing(), NAME))
    assert next(batches).cpu().tolist() == [1]
    with pytest.raises(OSError, match="disk") as caught:
        next(batches)
    assert "in failing" in "".join(traceback.format_exception(caught.value))


def test_errors_of_the_conversion_reach_the_consumer():
    batches = iter(tensorlift.DevicePrefetcher([{"x": np.array(0, "M8[s]")}], NAME))
    with pytest.raises(TypeError, match=r'data\["x"\]'):
        next(batches)


def test_leaving_early(fake):
    before = fake.live_device_bytes()
    for batch in tensorlift.DevicePrefetcher(make_batches(50), NAME):
        check(batch, 0)
        break
    del batch
    gc.collect()
    assert not running()
    assert fake.live_device_bytes() == before


def test_an_exception_of_the_consumer():
    def consume():
        for _ in tensorlift.DevicePrefetcher(make_batches(50), NAME):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    gc.collect()
    assert not running()


def test_letting_go_of_the_iterator():
    batches = iter(tensorlift.DevicePrefetcher(make_batches(50), NAME))
    next(batches)
    assert running()
    del batches
    gc.collect()
    assert not running()


def test_an_iterator_that_was_never_used_starts_nothing():
    iter(tensorlift.DevicePrefetcher(make_batches(), NAME))
    assert not running()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_loader(workers):
    rows = [{"x": np.full(100, i, np.float32), "i": i} for i in range(20)]
    loader = DataLoader(rows, batch_size=4, collate_fn=tensorlift.collate, num_workers=workers)
    results = list(tensorlift.DevicePrefetcher(loader, NAME))
    assert torch.cat([b["i"].cpu() for b in results]).tolist() == list(range(20))
    assert all(b["x"].shape == (4, 100) and b["x"].device == DEVICE for b in results)


def test_tensors_that_are_not_packed_arrive_as_well():
    large = torch.ones(1 << 19).pin_memory()
    weight = torch.ones(3, requires_grad=True)
    on_device = torch.ones(2, device=NAME)
    (batch,) = tensorlift.DevicePrefetcher([(large, weight, on_device, None, 5)], NAME)
    assert bool((batch[0].cpu() == 1).all())
    assert batch[0].device == DEVICE
    assert batch[1].device == DEVICE
    assert batch[2].data_ptr() == on_device.data_ptr()
    assert batch[3:] == [None, 5]


def test_a_packed_batch_is_one_copy(fake):
    batches = iter(tensorlift.DevicePrefetcher([[np.ones(i) for i in range(100)]], NAME))
    fake.reset_stats()
    batch = next(batches)
    assert fake.stats()["h2d"] == 1
    assert [t.numel() for t in batch] == list(range(100))
    assert all(bool((t.cpu() == 1).all()) for t in batch)


@pytest.mark.parametrize("n", [4, 300])  # of a few bytes, and of more than 1 MiB
def test_strides_are_kept_as_to_keeps_them(n):
    images = torch.rand(2, 3, n, n).to(memory_format=torch.channels_last)
    tensors = [images, images.mT, torch.rand(3, n).T, images[:, :2], torch.rand(n, 1).expand(n, 3)]
    (sent,) = tensorlift.DevicePrefetcher([tensors], NAME)
    for tensor, result in zip(tensors, sent, strict=True):
        assert torch.equal(result.cpu(), tensor)
    assert [t.stride() for t in sent[:3]] == [t.to(NAME).stride() for t in tensors[:3]]


def test_bad_device():
    with pytest.raises(ValueError, match="device: expected a device that torch can use here"):
        tensorlift.DevicePrefetcher([], f"{NAME}:99")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads; torch's own, of pin
def test_batches_of_workers_through_the_pin_memory_thread():
    rows = [{"x": np.full(100, i, np.float32), "i": i, "s": str(i)} for i in range(8)]
    loader = DataLoader(
        rows, batch_size=4, num_workers=1, pin_memory=True, collate_fn=tensorlift.collate
    )
    batches = list(loader)
    assert all(batch["x"].is_pinned() and batch["i"].is_pinned() for batch in batches)
    assert torch.cat([batch["i"] for batch in batches]).tolist() == list(range(8))
    sent = list(tensorlift.DevicePrefetcher(batches, NAME))
    assert torch.cat([batch["x"].cpu() for batch in sent])[:, 7].tolist() == list(range(8))
