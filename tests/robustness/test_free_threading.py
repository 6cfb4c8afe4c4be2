"""Each state that threads share, changed by one while others use it: csrc/README.md has the table.

On a Python with a GIL these tests show little; on a free-threaded one they crash, or give a wrong
answer, where a lock is missing.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import sysconfig
import textwrap
import threading

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate
from torch.utils.data._utils.collate import default_collate_fn_map

import tensorlift
from support.threads import in_threads, while_another

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
THREADS = 4
CALLS = 400 if FREE_THREADED else 40

only_without_gil = pytest.mark.skipif(not FREE_THREADED, reason="has a GIL anyway")


def run(code: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, *options, "-X", "faulthandler", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
        env={name: value for name, value in os.environ.items() if name != "PYTHON_GIL"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def times(call, count=CALLS):
    """A target that calls it so many times, whatever Python's errors are."""

    def repeated():
        for _ in range(count):
            with contextlib.suppress(TypeError, ValueError, RuntimeError, LookupError):
                call()

    return [repeated] * THREADS


@only_without_gil
def test_the_gil_stays_off():
    """After the import, and after all kinds of calls."""
    printed = run("""
        import sys
        import numpy as np, tensorlift
        print(sys._is_gil_enabled())
        a = np.arange(6.0)
        tensorlift.from_numpy([a, a[::-1]]), tensorlift.stack([a, a]), tensorlift.cat([a, a])
        tensorlift.pad([a, [1, 2]]), tensorlift.jagged([a, a]), tensorlift.pack([a], max_tokens=9)
        tensorlift.collate([{"a": a, "n": 1}] * 3), tensorlift.convert({"x": [a]})
        tensorlift.explain([a]), tensorlift.to_numpy(tensorlift.from_numpy([a]))
        tensorlift.empty_cache()
        print(sys._is_gil_enabled())
    """)
    assert printed.split() == ["False", "False"]


@pytest.mark.parametrize("call", [tensorlift.from_numpy, tensorlift.stack, tensorlift.cat])
def test_a_list_of_arrays(call):
    shared = []

    def change():
        shared[:] = [np.full(8, i, np.float32) for i in range(50)]
        del shared[::2]
        shared.clear()

    while_another(change, *times(lambda: call(shared)))


def test_samples_that_are_dicts():
    samples = [{} for _ in range(8)]
    numbers = itertools.count()

    def change():
        for sample in samples:
            sample.clear()
            sample.update({str(k): np.full(4, next(numbers)) for k in range(20)})
            sample["0"] = np.zeros(4)
            del sample["7"]

    while_another(
        change,
        *times(lambda: tensorlift.collate(samples)),
        *times(lambda: tensorlift.convert(samples)),
    )


def test_samples_that_are_lists():
    samples = [[] for _ in range(8)]

    def change():
        for sample in samples:
            sample.clear()
            sample.extend(np.zeros(4) for _ in range(20))

    while_another(change, *times(lambda: tensorlift.collate(samples)))


def test_lists_of_numbers():
    """Of a tokenizer: nested, and of ints that are objects of their own."""
    shared = [[10**6 + i for i in range(20)] for _ in range(8)]
    nested = [[[10**6 + i, i] for i in range(20)] for _ in range(8)]

    def change():
        for numbers in shared:
            numbers[:] = [10**7 + i for i in range(30)]
            numbers.clear()
        for rows in nested:
            rows[:] = [[10**7 + i, i] for i in range(15)]
            rows[3].append(1)
            rows.clear()

    while_another(
        change, *times(lambda: tensorlift.pad(shared)), *times(lambda: tensorlift.jagged(nested))
    )


@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")  # NumPy 2.5's
def test_an_array_whose_header_changes():
    """Its shape, strides and dtype are those of one moment."""
    array = np.arange(12.0)
    words = np.zeros(4, np.float32)

    def change():
        for shape in ((3, 4), (12,), (4, 3), (2, 3, 2), (1, 12)):
            array.shape = shape
        for dtype in (np.int32, np.uint32, np.float32):
            words.dtype = dtype

    def look():
        for _ in range(CALLS):
            (tensor,) = tensorlift.from_numpy([array])
            assert tensor.numel() == 12
            assert tensor.is_contiguous()
            assert tensorlift.stack([array]).flatten().tolist() == list(range(12))
            assert tensorlift.from_numpy([words])[0].tolist() == [0] * 4

    while_another(change, *[look] * THREADS)


def test_a_map_of_functions():
    fn_map = dict(default_collate_fn_map)

    def change():
        for i in range(20):
            fn_map[type(f"Kind{i}", (), {})] = lambda batch, collate_fn_map=None: batch
        fn_map.clear()
        fn_map.update(default_collate_fn_map)

    sample = {"x": np.zeros(3), "n": 1}
    while_another(change, *times(lambda: tensorlift.collate([sample] * 3, collate_fn_map=fn_map)))


def test_types_that_were_not_met_before():
    def look():
        for i in range(CALLS):
            kind = type(f"Kind{i}", (np.ndarray,), {})
            batch = tensorlift.collate([{"x": np.arange(3.0).view(kind), "n": i}] * 2)
            assert batch["x"].tolist() == [[0, 1, 2]] * 2

    in_threads(*[look] * THREADS)


def test_dtypes_that_were_not_met_before():
    """And what is made once: all of it in a process of its own, where it is not made yet."""
    printed = run("""
        import threading
        import ml_dtypes, numpy as np, tensorlift, torch
        names = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "int4"]
        barrier = threading.Barrier(8)
        results = []
        def look():
            arrays = [np.ones(2, getattr(ml_dtypes, name)) for name in names]
            barrier.wait()
            found = [str(t.dtype) for t in tensorlift.from_numpy(arrays[:4])]
            try:
                tensorlift.from_numpy(arrays[4:])
            except TypeError:
                found.append("refused")
            try:
                tensorlift.stack([arrays[0], None])
            except TypeError:
                pass
            tensorlift.collate([{"x": np.float32(1)}, {"x": np.float32(2)}])
            results.append(found)
        threads = [threading.Thread(target=look) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert len(results) == 8
        print(set(map(tuple, results)))
    """)
    names = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz")
    assert printed.strip() == str({(*(f"torch.{name}" for name in names), "refused")})


def test_staging_settings():
    """Two threads that set one option each lose none."""
    before = tensorlift.staging()
    try:
        in_threads(
            lambda: [tensorlift.set_staging(buffers=2 + i % 5) for i in range(CALLS + 1)],
            lambda: [tensorlift.set_staging(threads=1 + i % 5) for i in range(CALLS + 1)],
            lambda: [tensorlift.set_staging(chunk_bytes=4096 << i % 5) for i in range(CALLS + 1)],
        )
        last = CALLS % 5
        now = tensorlift.staging()
        assert (now.buffers, now.threads, now.chunk_bytes) == (2 + last, 1 + last, 4096 << last)
    finally:
        tensorlift.set_staging(**before._asdict())


def test_install():
    def look():
        for _ in range(CALLS):
            with tensorlift.install():
                assert default_collate([np.zeros(2)] * 2).shape == (2, 2)

    in_threads(*[look] * THREADS)
    from torch.utils.data._utils import collate

    assert collate.collate.__module__.startswith("torch.")


def test_reducers_are_registered_once():
    """Or sending a tensor would ask itself."""
    run("""
        import io, sys, threading
        from multiprocessing.reduction import ForkingPickler
        import tensorlift, torch
        from tensorlift._data import shared
        sys.setswitchinterval(1e-6)
        barrier = threading.Barrier(8)
        def look():
            barrier.wait()
            shared._reducers_before()
            ForkingPickler(io.BytesIO()).dump(torch.zeros(3).share_memory_())
        threads = [threading.Thread(target=look) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert shared._reducers_before().tensor.__module__.startswith("torch.")
    """)


def test_tensors_that_die_on_any_thread():
    """Their arrays are released once each; blocks go back to the cache while it is emptied."""
    arrays = [np.arange(64.0) for _ in range(20)]
    big = [np.zeros(1 << 14, np.float32) for _ in range(4)]
    before = [sys.getrefcount(a) for a in arrays]
    handed_over: list[list[torch.Tensor]] = []
    lock = threading.Lock()

    def make():
        for _ in range(CALLS):
            tensors = [*tensorlift.from_numpy(arrays), tensorlift.stack(big)]
            with lock:
                handed_over.append(tensors)

    def drop():
        for _ in range(CALLS * 2):
            with lock:
                dropped = handed_over.pop() if handed_over else []
            dropped.clear()
            tensorlift.empty_cache()

    in_threads(make, make, drop, drop)
    handed_over.clear()
    assert [sys.getrefcount(a) for a in arrays] == before


def test_a_torch_thread_lets_go_of_the_last_reference():
    """Autograd's threads have no GIL, and are none of Python's."""
    arrays = [np.ones(16, np.float32) for _ in range(8)]
    before = [sys.getrefcount(a) for a in arrays]

    def train():
        for _ in range(CALLS // 4):
            weight = torch.ones(16, requires_grad=True)
            loss = sum((weight * t).sum() for t in tensorlift.from_numpy(arrays))
            loss.backward()

    in_threads(*[train] * THREADS)
    assert [sys.getrefcount(a) for a in arrays] == before
