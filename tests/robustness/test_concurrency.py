"""Threads that convert, mutate and fork at the same time."""

import gc
import multiprocessing
import os
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch

import tensorlift
from support.threads import in_threads

BIG = 1 << 20  # elements: enough for the GIL to be released and for several threads to copy


def test_threads_convert_the_same_list():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 99, size=n) for n in (10, 1000, 100_000)] * 3
    arrays += [a[::-1] for a in arrays]
    before = [sys.getrefcount(a) for a in arrays]

    def convert():
        for _ in range(15):
            tensors = tensorlift.from_numpy(arrays, dtype=torch.float32, threads=3)
            for array, tensor in zip(arrays, tensors, strict=True):
                assert tensor[-1] == array[-1]
            tensorlift.from_numpy(arrays)

    in_threads(*[convert] * 6)
    assert [sys.getrefcount(a) for a in arrays] == before


def each_emptied_meanwhile(convert, kept):
    """Results of convert(arrays), while another thread takes all but so many out of the list."""
    for _ in range(5):
        arrays = [np.full(BIG // 8, i, np.int64) for i in range(24)]
        started = threading.Event()
        results = []

        def begin(arrays=arrays, started=started, results=results):
            started.set()
            results.append(convert(arrays))

        def empty(arrays=arrays, started=started):
            started.wait()
            arrays[kept:] = []
            gc.collect()
            [np.full(BIG // 8, -1, np.int64) for _ in range(24)]

        in_threads(begin, empty)
        yield from results


@pytest.mark.parametrize("threads", [1, 4])
def test_the_list_is_emptied_meanwhile(threads):
    """References of our own: whatever happens to the list, its arrays stay until copied."""
    convert = partial(tensorlift.from_numpy, dtype=torch.float32, threads=threads)
    for tensors in each_emptied_meanwhile(convert, 0):
        assert len(tensors) in (0, 24)
        assert all((t == i).all() for i, t in enumerate(tensors))


def test_the_shape_is_changed_meanwhile():
    array = np.arange(BIG).reshape(1024, -1)
    stop = threading.Event()

    def reshape():
        while not stop.is_set():
            array.shape = (2048, -1)
            array.shape = (1024, -1)

    def convert():
        try:
            for _ in range(40):
                (tensor,) = tensorlift.from_numpy([array], dtype=torch.float64)
                assert tensor.flatten()[-1] == BIG - 1
        finally:
            stop.set()

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy 2.5 will not set shapes
        in_threads(reshape, convert)


def test_an_array_cannot_be_resized_meanwhile():
    array = np.zeros(10)
    tensors = tensorlift.from_numpy([array])
    with pytest.raises(ValueError, match="resize"):
        array.resize(100_000)
    del tensors


def test_an_iterator_that_changes_its_list():
    arrays = [np.ones(3) for _ in range(50)]

    class Hostile(list):
        def __iter__(self):
            for array in list.__iter__(self):
                if arrays:
                    arrays.clear()
                    gc.collect()
                yield array

    assert len(tensorlift.from_numpy(Hostile(arrays))) == 50


def test_the_gil_is_released_while_bytes_are_copied():
    """A Python thread makes progress inside the time window of one native call."""
    source = [np.zeros(32 * BIG, np.int64)]  # 256 MiB: a second or so on a slow machine
    ticks = []
    stop = threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        begin = time.perf_counter()
        tensorlift.from_numpy(source, dtype=torch.float32, threads=1)
        end = time.perf_counter()
    finally:
        stop.set()
        ticker.join()
    inside = [t for t in ticks if begin < t < end]
    longest_gap = max(b - a for a, b in zip([begin, *inside], [*inside, end], strict=True))
    assert longest_gap < 0.5 * (end - begin)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_after_threads_have_worked():
    arrays = [np.arange(BIG)[::-1]]
    tensorlift.from_numpy(arrays, threads=4)  # the parent's workers exist now
    for _ in range(5):
        child = os.fork()
        if child == 0:
            try:
                (tensor,) = tensorlift.from_numpy(arrays, threads=4)
                os._exit(0 if tensor[0] == BIG - 1 else 1)
            except BaseException:
                os._exit(2)
        assert wait(child) == 0
    assert tensorlift.from_numpy(arrays, threads=4)[0][0] == BIG - 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_another_thread_copies():
    arrays = [np.arange(4 * BIG)[::-1]]
    stop = threading.Event()

    def work():
        while not stop.is_set():
            tensorlift.from_numpy(arrays, threads=3)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                try:
                    (tensor,) = tensorlift.from_numpy([arrays[0][: BIG // 2]], threads=3, copy=True)
                    os._exit(0 if tensor[0] == 4 * BIG - 1 else 1)
                except BaseException:
                    os._exit(2)
            assert wait(child) == 0
    finally:
        stop.set()
        worker.join()


def wait(child: int, seconds: float = 60) -> int:
    """The child's exit status; kills it where it hangs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -9


class Dataset(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        arrays = [np.full(BIG // 4, index)[::-1], np.full(3, index)]
        assert torch.get_num_threads() == 1
        return tensorlift.from_numpy(arrays, dtype=torch.float32)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_in_loader_workers(start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} here")
    tensorlift.from_numpy([np.zeros(BIG)], copy=True, threads=2)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12's about fork and threads
        loader = torch.utils.data.DataLoader(
            Dataset(), batch_size=None, num_workers=2, multiprocessing_context=start
        )
        for index, (big, small) in enumerate(loader):
            assert (big == index).all()
            assert small.tolist() == [index] * 3


def test_threads_batch_the_same_list():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 99, (n, 50)) for n in (3, 4000, 1, 9000)]
    expected = torch.cat([torch.from_numpy(a) for a in arrays]).float()
    sizes = [[len(a), 50] for a in arrays]

    def batch():
        for _ in range(8):
            joined = tensorlift.cat(arrays, dtype=torch.float32, threads=3)
            assert torch.equal(joined, expected)
            assert torch.equal(tensorlift.jagged(arrays).values, expected.long())
            assert tensorlift.pad(arrays, padding_value=7).sizes.tolist() == sizes

    in_threads(*[batch] * 6)


@pytest.mark.parametrize("threads", [1, 4])
def test_the_list_of_a_batch_is_emptied_meanwhile(threads):
    convert = partial(tensorlift.jagged, dtype=torch.float32, threads=threads)
    for jagged in each_emptied_meanwhile(convert, 1):
        assert len(jagged.offsets) in (2, 25)
        assert all((view == i).all() for i, view in enumerate(jagged.unbind()))


def test_a_mask_that_reshapes_the_others():
    """Asking a MaskedArray for its mask runs Python code, after which no older view may be used."""
    victims = [np.arange(6.0) for _ in range(8)]

    class Reshaping(np.ma.MaskedArray):
        def __getattribute__(self, name):
            for victim in victims if name == "_mask" and armed else ():
                victim.resize((2, 3), refcheck=False)
            return super().__getattribute__(name)

    armed = False
    evil = Reshaping(np.arange(6.0))
    armed = True
    assert tensorlift.stack([*victims, evil]).shape == (9, 6)  # read before, as they were
    assert victims[0].shape == (2, 3)
    with pytest.raises(ValueError, match=r"^arrays\[1\]: expected shape \(6,\)"):
        tensorlift.stack([evil, *victims])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
def test_threads_keep_the_nice_level_of_the_process():
    child = os.fork()
    if child == 0:
        os.nice(7)
        tensorlift.stack([np.ones(8 << 20, np.uint8)] * 4, threads=3)
        levels = {os.getpriority(os.PRIO_PROCESS, int(t)) for t in os.listdir("/proc/self/task")}
        started = os.getpriority(os.PRIO_PROCESS, 0)
        os._exit(0 if levels == {started} and len(os.listdir("/proc/self/task")) > 1 else 1)
    assert wait(child) == 0
