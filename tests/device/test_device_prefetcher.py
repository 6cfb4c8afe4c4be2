"""DevicePrefetcher: batches in order, ready on the consumer's stream; its thread always ends."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import traceback
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift
from support.device_fixtures import NAME, needs_fake
from tensorlift import _C

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


def wait_for_threads() -> None:
    """A thread whose iteration was left ends by itself, but nobody waits for it."""
    for thread in running():
        thread.join(20)
    assert not running()


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    wait_for_threads()


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
    wait_for_threads()
    assert fake.live_device_bytes() == before


def test_an_exception_of_the_consumer():
    def consume():
        for _ in tensorlift.DevicePrefetcher(make_batches(50), NAME):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    wait_for_threads()


def test_letting_go_of_the_iterator():
    batches = iter(tensorlift.DevicePrefetcher(make_batches(50), NAME))
    next(batches)
    assert running()
    del batches
    wait_for_threads()


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
    assert batch[3:] == (None, 5)


def test_many_tensors_go_through_one_buffer(fake):
    batches = iter(tensorlift.DevicePrefetcher([[np.ones(i) for i in range(100)]], NAME))
    fake.reset_stats()
    batch = next(batches)
    assert fake.stats()["h2d"] == 99  # each to memory of its own
    assert tensorlift.staging().chunk_bytes == _C.staging_bytes()
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
    assert not any(t._is_view() for t in sent)


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


class SlowLoader:
    """Its second batch comes when it is let go of; says who iterates it, and where."""

    def __init__(self):
        self.is_inside = threading.Event()
        self.may_go_on = threading.Event()
        self.iterated_by = None
        self.devices = []

    def __iter__(self):
        self.iterated_by = threading.current_thread()
        return self.batches()

    def batches(self):
        for i in range(3):
            if i == 1:
                self.is_inside.set()
                assert self.may_go_on.wait(20)
            self.devices.append(torch.accelerator.current_device_index())
            yield np.full(2, i)


def test_leaving_does_not_wait_for_the_loader(monkeypatch):
    loader = SlowLoader()
    joined = []
    monkeypatch.setattr(threading.Thread, "join", lambda thread, timeout: joined.append(thread))
    for batch in tensorlift.DevicePrefetcher(loader, NAME):
        assert batch.cpu().tolist() == [0, 0]
        assert loader.is_inside.wait(20)
        break
    assert running()  # in the loader
    assert not joined
    loader.may_go_on.set()


def test_the_next_iteration_waits_until_the_loader_is_free():
    class OneAtATime(SlowLoader):
        in_use = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.in_use += 1
            assert self.in_use == 1, "two threads are in the loader"
            self.is_inside.set()
            assert self.may_go_on.wait(20)
            self.in_use -= 1
            return np.ones(1)

    loader = OneAtATime()
    wrapped = tensorlift.DevicePrefetcher(loader, NAME)
    first = threading.Thread(target=next, args=(iter(wrapped), None))
    first.start()
    assert loader.is_inside.wait(20)
    wrapped.close()
    first.join(20)
    assert running()
    second = iter(wrapped)
    timer = threading.Timer(0.05, loader.may_go_on.set)
    timer.start()
    assert next(second).cpu().tolist() == [1]
    second.close()
    timer.join()


def test_close_ends_an_iteration_and_frees_its_batches(fake):
    before = fake.live_device_bytes()
    with tensorlift.DevicePrefetcher(make_batches(50), NAME) as wrapped:
        batches = iter(wrapped)
        check(next(batches), 0)
    assert list(batches) == []
    wait_for_threads()
    assert fake.live_device_bytes() == before
    assert len(list(wrapped)) == 50


def test_close_wakes_a_consumer_that_waits():
    loader = SlowLoader()
    wrapped = tensorlift.DevicePrefetcher(loader, NAME)
    seen = []
    consumer = threading.Thread(target=lambda: seen.extend(wrapped))
    consumer.start()
    assert loader.is_inside.wait(20)
    wrapped.close()
    consumer.join(20)
    assert not consumer.is_alive()
    assert len(seen) <= 1
    loader.may_go_on.set()


def test_the_loader_is_iterated_by_the_consumer_and_runs_on_its_device():
    """Workers are forked, and their death is noticed, where it would be without us."""
    loader = SlowLoader()
    loader.may_go_on.set()
    last = torch.accelerator.device_count() - 1
    before = torch.accelerator.current_device_index()
    torch.accelerator.set_device_index(last)
    try:
        list(tensorlift.DevicePrefetcher(loader, f"{NAME}:0"))
    finally:
        torch.accelerator.set_device_index(before)
    assert loader.iterated_by is threading.current_thread()
    assert loader.devices == [last] * 3


def test_nothing_is_kept_until_a_garbage_collection(fake):
    gc.collect()
    gc.disable()
    try:
        before = fake.live_device_bytes()
        arrays = [np.ones(1000) for _ in range(4)]
        alive = [weakref.ref(array) for array in arrays]
        batches = iter(tensorlift.DevicePrefetcher([(arrays.pop(), "a") for _ in alive], NAME))
        for _ in batches:
            pass
        del _, batches
        wait_for_threads()
        assert fake.live_device_bytes() == before
        assert [ref() for ref in alive] == [None] * 4
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
@pytest.mark.parametrize("workers", [0, 1])
def test_the_same_order_as_the_loaders_under_the_same_seed(workers):
    results = []
    for device in (None, NAME):
        loader = DataLoader(list(range(20)), batch_size=4, shuffle=True, num_workers=workers)
        if device is not None:
            loader = tensorlift.DevicePrefetcher(loader, device)
        torch.manual_seed(5)
        epochs = []
        for _ in range(3):
            iter(loader if device else [])  # a look that is not used
            epochs.append([batch.tolist() for batch in loader])
            epochs.append(torch.rand(1).item())  # the consumer draws as well
        results.append(epochs)
    assert results[0] == results[1]


def test_tuples_stay_tuples():
    batch = (np.ones(2), [1, (torch.zeros(1), "a")], torch.Size([2]))
    (sent,) = tensorlift.DevicePrefetcher([batch], NAME)
    assert [type(part) for part in (sent, sent[1], sent[1][1])] == [tuple, list, tuple]
    assert sent[1][1][0].device == DEVICE
    assert sent[2] is batch[2]


def test_a_packed_sequence_keeps_its_sizes_on_the_host():
    sequences = torch.nn.utils.rnn.pack_sequence([torch.arange(2.0), torch.arange(3.0)], False)
    (batch,) = tensorlift.DevicePrefetcher([{"x": sequences, "y": np.ones(1)}], NAME)
    assert batch["x"].data.device == batch["x"].sorted_indices.device == DEVICE
    assert batch["x"].batch_sizes.device.type == "cpu"
    assert batch["x"].data.cpu().tolist() == sequences.data.tolist()
    assert batch["y"].cpu().tolist() == [1]


class Stateful:
    """Counts what it has given, as torchdata's StatefulDataLoader does."""

    def __init__(self, count=10):
        self.count = count
        self.given = 0

    def __iter__(self):
        while self.given < self.count:
            self.given += 1
            yield np.full(1, self.given - 1)
        self.given = 0

    def state_dict(self):
        return {"given": self.given}

    def load_state_dict(self, state):
        self.given = state["given"]


def test_a_state_is_that_of_the_last_batch_delivered():
    wrapped = tensorlift.DevicePrefetcher(Stateful(), NAME, depth=3)
    assert wrapped.state_dict() == {"given": 0}
    for i, batch in enumerate(wrapped):
        assert batch.cpu().tolist() == [i]
        assert wrapped.state_dict() == {"given": i + 1}
    assert wrapped.state_dict() == {"given": 0}
    batches = iter(wrapped)
    next(batches), next(batches)
    resumed = tensorlift.DevicePrefetcher(Stateful(), NAME)
    resumed.load_state_dict(wrapped.state_dict())
    batches.close()
    assert [batch.cpu().item() for batch in resumed] == list(range(2, 10))
    wrapped.load_state_dict({"given": 7})
    assert wrapped.state_dict() == {"given": 7}


def test_a_loader_without_a_state_has_none():
    assert not hasattr(tensorlift.DevicePrefetcher([], NAME), "state_dict")


@needs_fake
def test_the_process_ends_though_an_iterator_is_left():
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import support.device_fixtures, numpy as np, tensorlift
batches = iter(tensorlift.DevicePrefetcher([np.ones(1000)] * 9, {NAME!r}))
next(batches)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr
