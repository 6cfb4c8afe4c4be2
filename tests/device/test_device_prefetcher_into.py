"""DevicePrefetcher(into=): batches in the caller's tensors, in order with what reads them."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import torch

import tensorlift
from support.device_fixtures import NAME, needs_fake

DEVICE = torch.device(NAME, 0)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "tensorlift.DevicePrefetcher":
            thread.join(20)
            assert not thread.is_alive()


def make_batches(count=6, n=5000, rows=None):
    return [
        {
            "x": np.full((rows or 4, n), i, np.float32),
            "y": [torch.full((rows or 4, 3), i), str(i)],
            "z": np.int64(i),
            "pinned": torch.full((rows or 4, 1 << 18), i, dtype=torch.int32).pin_memory(),
            "grad": torch.full((rows or 4,), float(i), requires_grad=True),
            "read only": np.broadcast_to(np.int16(i), (rows or 4, 2)),
        }
        for i in range(count)
    ]


def buffers(n=5000):
    return {
        "x": torch.zeros(4, n, device=DEVICE),
        "y": [torch.zeros(4, 3, dtype=torch.int64, device=DEVICE), None],
        "z": torch.zeros((), dtype=torch.int64, device=DEVICE),
        "pinned": torch.zeros(4, 1 << 18, dtype=torch.int32, device=DEVICE),
        "grad": torch.zeros(4, device=DEVICE),
        "read only": torch.zeros(4, 2, dtype=torch.int16, device=DEVICE),
    }


def check(batch, into, i, rows=4):
    for key in ("x", "pinned", "grad", "read only"):
        assert batch[key].data_ptr() == into[key].data_ptr()
        assert len(batch[key]) == rows
        assert batch[key].cpu().unique().tolist() == [i]
    assert batch["y"][0].data_ptr() == into["y"][0].data_ptr()
    assert batch["y"][0].cpu().unique().tolist() == [i]
    assert batch["y"][1] == str(i)
    assert batch["z"] is into["z"]
    assert batch["z"].item() == i
    assert not batch["grad"].requires_grad


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_batches_in_order_and_ready(depth):
    into = buffers()
    batches = [*make_batches(), *make_batches(rows=3)]
    loader = tensorlift.DevicePrefetcher(batches, NAME, depth=depth, into=into)
    for _ in range(2):
        count = 0
        for i, batch in enumerate(loader):
            check(batch, into, i % 6, 3 if i >= 6 else 4)
            count += 1
        assert count == 12


@needs_fake
@pytest.mark.usefixtures("small_ring")
def test_it_is_overwritten_after_what_reads_it(fake):
    """The consumer's stream runs as late as it may, and the copies as early as they may."""
    into = {"x": torch.zeros(5000, device=DEVICE)}
    batches = [{"x": np.full(5000, i, np.float32)} for i in range(20)]
    kept = []
    for batch in tensorlift.DevicePrefetcher(batches, NAME, into=into):
        out = torch.empty_like(batch["x"])
        out.copy_(batch["x"], non_blocking=True)  # waits on the consumer's stream
        kept.append(out)
    assert [int(out.cpu()[17]) for out in kept] == list(range(20))


@needs_fake
def test_on_the_stream_that_is_current_when_the_next_one_is_asked_for(fake):
    stream = torch.Stream(NAME)
    into = {"x": torch.zeros(5000, device=DEVICE)}
    torch.accelerator.synchronize()
    loader = tensorlift.DevicePrefetcher(
        [{"x": np.full(5000, i, np.float32)} for i in range(4)], NAME, into=into
    )
    fake.block_stream(None)
    with stream:
        assert [int(batch["x"].cpu()[17]) for batch in loader] == list(range(4))
    assert fake.stats()["forbidden_wait"] == 0


@needs_fake
def test_ten_thousand_steps_without_an_allocation(fake):
    into = {"x": torch.zeros(4, 8, device=DEVICE), "y": torch.zeros(4, device=DEVICE)}

    def batches():
        for step in range(10_000):
            yield {"x": np.full((4, 8), step, np.float32), "y": torch.full((4,), float(step))}

    fake.set_mode(fake.EAGER)
    loader = tensorlift.DevicePrefetcher(batches(), NAME, depth=2, into=into)
    counts = {}
    for step, batch in enumerate(loader):
        if step % 500 == 0:
            fake.reset_stats()  # the log, too
        if step % 500 == 499:
            stats = fake.stats()
            for name in ("device_alloc", "device_reuse", "pinned_alloc", "pinned_reuse"):
                counts[name] = counts.get(name, 0) + (stats[name] if step > 500 else 0)
        assert batch["x"] is into["x"]
    assert step == 9999
    assert batch["x"].cpu().unique().tolist() == [9999]
    assert set(counts.values()) == {0}


def test_a_batch_that_does_not_fit_is_named():
    for wrong, text in (
        ({"x": np.zeros((5, 2), np.float32)}, r'into\["x"\]: expected 5 rows or more .* got 4'),
        ({"x": np.zeros((4, 3), np.float32)}, r'into\["x"\]: .* got shape \(4, 2\)'),
        ({"x": np.zeros((4, 2))}, r'into\["x"\]: expected dtype torch.float64, got torch.float32'),
        ({"x": "text"}, r'into\["x"\]: expected None for what is no plain tensor \(str\)'),
        ({"y": np.zeros(1)}, r'into\["y"\]: expected a tensor, or None .* got nothing'),
        ({}, r'into\["x"\]: expected None, because the batch has nothing there'),
        (np.zeros(1), r"into\[\"x\"\]: expected None, because|expected"),
    ):
        into = {"x": torch.zeros(4, 2, device=DEVICE)}
        good = {"x": np.ones((4, 2), np.float32)}
        iterator = iter(tensorlift.DevicePrefetcher([good, wrong], NAME, into=into))
        assert next(iterator)["x"] is into["x"]
        with pytest.raises(ValueError, match=text):
            next(iterator)
        assert into["x"].cpu().unique().tolist() == [1]


def test_buffers_that_cannot_be_written_to():
    good = torch.zeros(4, 2, device=DEVICE)
    for wrong, text in (
        (torch.zeros(2), rf"into\[0\]: expected a tensor on {DEVICE}, got one on cpu"),
        (good.clone().requires_grad_(), r"into\[0\]: expected a tensor that needs no gradient"),
    ):
        with pytest.raises(ValueError, match=text):
            tensorlift.DevicePrefetcher([], NAME, into=[wrong])
    for twice in ([good, good], [good, good[1:]]):
        with pytest.raises(ValueError, match=r"into\[1\]: expected memory that no other tensor"):
            tensorlift.DevicePrefetcher([], NAME, into=twice)
    tensorlift.DevicePrefetcher([], NAME, into=[good[:2], good[2:]])


def test_what_is_no_tree():
    for wrong in (3, "x", np.zeros((4, 2), np.float32)):
        kind = type(wrong).__name__
        with pytest.raises(TypeError, match=rf"^into: expected a tensor or a tree .* got {kind}\."):
            tensorlift.DevicePrefetcher([], NAME, into=wrong)
    tensor = torch.zeros(4, 2, device=DEVICE)
    for into, batch, text in (
        (tensor, {"x": tensor}, r'into: expected what has \["x"\] like the batch, got Tensor\.'),
        (
            {"x": tensor},
            {"x": [tensor]},
            r'into\["x"\]: expected what has \[0\] like the batch, got Tensor\.',
        ),
    ):
        with pytest.raises(ValueError, match=text):
            next(iter(tensorlift.DevicePrefetcher([batch], NAME, into=into)))


def test_a_loop_that_is_left():
    into = buffers()
    loader = tensorlift.DevicePrefetcher(make_batches(), NAME, depth=1, into=into)
    for i, _ in enumerate(loader):
        if i == 2:
            break
    loader.close()
    check(next(iter(loader)), into, 0)


def test_an_error_of_the_loader():
    def batches():
        yield {"x": np.ones(2, np.float32)}
        raise KeyError("mine")

    into = {"x": torch.zeros(2, device=DEVICE)}
    iterator = iter(tensorlift.DevicePrefetcher(batches(), NAME, into=into))
    assert next(iterator)["x"].cpu().tolist() == [1, 1]
    with pytest.raises(KeyError, match="mine"):
        next(iterator)
