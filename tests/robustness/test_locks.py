"""Locks of csrc/README.md's table, which says which of them were taken out to see a test fail.

Chance does not find most of these windows. So one thread stands in the middle of a change, inside
of Python's own lock of the list or dict, while another one makes the call: it has to wait.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time

import numpy as np
import pytest
import torch
from torch.utils.data._utils.collate import default_collate_fn_map

import tensorlift
from tensorlift._data import install, shared
from tensorlift._data.collate import collate_for_torch

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
LONG_ENOUGH_S = 0.2  # for a call that does not wait

only_without_gil = pytest.mark.skipif(not FREE_THREADED, reason="has a GIL instead")


class Meanwhile:
    """A call on another thread, begun and awaited in the middle of a change."""

    def __init__(self, call):
        self.call = call
        self.may_begin = self.has_ended = self.ended_inside = False
        self.result = None

    def run(self):
        while not self.may_begin:
            time.sleep(1e-4)
        try:
            self.result = self.call()
        except Exception as error:
            self.result = error
        self.has_ended = True

    def wait(self, until=lambda: False):
        """In the change. Gives no lock away, so it neither sleeps nor waits for one."""
        if self.may_begin:
            return
        deadline = time.perf_counter() + LONG_ENOUGH_S
        self.may_begin = True
        while not self.has_ended and not until() and time.perf_counter() < deadline:
            pass
        self.ended_inside = self.has_ended


@contextlib.contextmanager
def on_another_thread(call):
    other = Meanwhile(call)
    thread = threading.Thread(target=other.run)
    was_on = gc.isenabled()
    gc.disable()  # a collection stops all threads, which lets go of their locks
    thread.start()
    try:
        yield other
    finally:
        other.may_begin = True
        thread.join()
        if was_on:
            gc.enable()


def while_it_is_sorted(values, call):
    """The result of call(), made while another thread sorts the list, which is empty meanwhile."""
    with on_another_thread(call) as other:

        def key(_):
            other.wait()
            return 0

        values.sort(key=key)
    assert not other.ended_inside
    return other.result


def while_keys_are_added(values, keys, value, call):
    """The result of call(), made when half of the keys are in the dict, which gets all of them."""

    class Adding(dict):
        def __new__(cls):
            return values

    def half_by_half():
        yield from keys[: len(keys) // 2]
        other.wait()
        yield from keys[len(keys) // 2 :]

    with on_another_thread(call) as other:
        assert Adding.fromkeys(half_by_half(), value) is values
    assert not other.ended_inside
    return other.result


def run(code):
    """In a process in which nothing was met before."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr


@only_without_gil
@pytest.mark.parametrize("call", [tensorlift.from_numpy, tensorlift.stack, tensorlift.cat])
def test_a_list_of_arrays(call):
    arrays = [np.full(4, i) for i in range(3)]
    expected = call(arrays)
    result = while_it_is_sorted(arrays, lambda: call(arrays))
    assert all(map(torch.equal, result, expected))


@only_without_gil
@pytest.mark.parametrize("call", [tensorlift.collate, tensorlift.convert])
def test_a_list_of_samples(call):
    samples = [np.full(4, i) for i in range(3)]
    result = while_it_is_sorted(samples, lambda: call(samples))
    assert [row.tolist() for row in result] == [[i] * 4 for i in range(3)]


@only_without_gil
def test_a_sample_that_is_a_list():
    samples = [[np.zeros(2), np.ones(2)] for _ in range(3)]
    result = while_it_is_sorted(samples[1], lambda: tensorlift.collate(samples))
    assert [column.shape for column in result] == [(3, 2)] * 2


@only_without_gil
def test_the_keys_of_the_first_sample():
    first = {"a": np.zeros(2)}
    result = while_keys_are_added(
        first, ["b", "c"], np.ones(2), lambda: tensorlift.collate([first])
    )
    assert list(result) == ["a", "b", "c"]


@only_without_gil
def test_the_values_of_another_sample():
    samples = [{"a": np.zeros(2)}, {"a": np.zeros(2)}]
    result = while_keys_are_added(
        samples[1], ["b", "c"], np.ones(2), lambda: tensorlift.collate(samples)
    )
    assert result["a"].shape == (2, 2)


@only_without_gil
def test_a_dict_in_a_tree():
    tree = {"a": np.zeros(2)}
    result = while_keys_are_added(tree, ["b", "c"], np.ones(2), lambda: tensorlift.convert(tree))
    assert list(result) == ["a", "b", "c"]


@only_without_gil
def test_a_list_of_numbers():
    rows = [[10**6, 10**6 + 1], [10**6]]
    padded = while_it_is_sorted(rows[0], lambda: tensorlift.pad(rows))
    assert padded.batch.tolist() == [[10**6, 10**6 + 1], [10**6, 0]]


@only_without_gil
def test_a_list_in_a_list_of_numbers_is_held():
    """Nobody else may have a reference to it in the end."""
    inner = [10**6, 10**6 + 1]
    nested = [[inner, [10**6, 10**6 + 1]]]
    before = sys.getrefcount(inner)
    most = [0]
    with on_another_thread(lambda: tensorlift.pad(nested)) as other:

        def is_held():
            most[0] = max(most[0], sys.getrefcount(inner))
            return most[0] > before + 1  # one is sort()'s

        def key(_):
            other.wait(until=is_held)
            return 0

        inner.sort(key=key)
    assert most[0] > before + 1
    assert other.result.batch.shape == (1, 2, 2)


@only_without_gil
def test_a_list_that_torch_reads():
    """What is no list of numbers is left to torch, which has no references of its own."""
    run("""
        import gc, tensorlift
        class Clearing:
            def __len__(self):
                return 2
            def __getitem__(self, index):
                rows.clear()
                [[i] * 8 for i in range(1000)]
                return (5.5, 6.5)[index]
        rows = [[1.5, 2.5], Clearing(), [3.5, 4.5]]
        batch = tensorlift.pad([rows]).batch
        assert batch.tolist() == [[[1.5, 2.5], [5.5, 6.5], [3.5, 4.5]]]
        itself = []
        itself.append(itself)
        try:
            tensorlift.pad([itself])
        except (TypeError, ValueError):
            pass
    """)


@only_without_gil
def test_the_map_of_functions_that_was_used_last():
    fn_map = dict(default_collate_fn_map)
    samples = [np.zeros(2)] * 2
    collate_for_torch(samples, collate_fn_map=fn_map)
    result = while_keys_are_added(
        fn_map,
        [type("A", (), {})],
        None,
        lambda: collate_for_torch(samples, collate_fn_map=fn_map),
    )
    assert result.shape == (2, 2)


@only_without_gil
def test_a_map_of_functions():
    """The first one of a process, which is compared with no other."""
    run("""
        from test_locks import *
        fn_map = dict(default_collate_fn_map)
        kinds = [type(name, (), {}) for name in "abcd"]
        call = lambda: collate_for_torch([np.zeros(2)] * 2, collate_fn_map=fn_map)
        assert while_keys_are_added(fn_map, kinds, None, call).shape == (2, 2)
    """)


class Header(ctypes.Structure):
    """Of an array, as NumPy lays it behind what all objects have."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("ndim", ctypes.c_int),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
    )


@only_without_gil
@pytest.mark.parametrize(
    ("part", "every"),
    [("ndim", 1), ("ndim", 2), ("shape", 2), ("strides", 2), ("a stride", 1)],
)
def test_a_header_whose_parts_are_of_different_moments(part, every):
    """Between two of NumPy's writes."""
    array = np.arange(12.0 * every).reshape(3, 4 * every)[:, ::every]
    other = np.zeros((6, 2))
    header, another = (Header.from_address(id(a) + object.__basicsize__) for a in (array, other))
    whole = header.ndim, header.shape, header.strides
    strides = ctypes.cast(header.strides, ctypes.POINTER(ctypes.c_ssize_t))
    if part == "ndim":
        header.ndim = 1
    elif part == "a stride":
        strides[0] = 8
    else:
        setattr(header, part, getattr(another, part))
    try:
        with pytest.raises(RuntimeError, match="kept changing"):
            tensorlift.from_numpy([array])
    finally:
        header.ndim, header.shape, header.strides = whole
        strides[0] = 32 * every
    assert tensorlift.stack([array]).tolist() == [array.tolist()]


@only_without_gil
def test_a_header_that_changes_while_it_is_read():
    """Python is asked what a dtype is that was not met before, between two readings of it."""
    run("""
        import ml_dtypes, numpy as np, tensorlift
        array = np.ones((4, 6), ml_dtypes.bfloat16)[:, ::2]
        class Changing:
            def __str__(self):
                array.shape = (2, 2, 3)
                return "ml_dtypes"
        ml_dtypes.bfloat16.__module__ = Changing()
        (tensor,) = tensorlift.from_numpy([array])
        assert tensor.shape == (2, 2, 3)
        assert tensor.stride() == (12, 6, 2)
    """)


def test_a_tensor_whose_storage_is_taken_away():
    """After it was read, and before it is copied: by what is read next."""
    n = 1 << 22  # elements: memory that is unmapped when it is freed
    tensor = torch.full((n,), 7, dtype=torch.int32)

    class Taking:
        def __array__(self, dtype=None, copy=None):
            tensor.set_(torch.zeros(n, dtype=torch.int32))
            return np.zeros(n, np.int32)

    assert (tensorlift.stack([tensor, Taking()])[0] == 7).all()
    assert not tensor.any()


class SlowToInstall:
    """In the place of torch's module: while something is written to it, another thread may come."""

    def __init__(self, other):
        self.function = install._TORCHS
        self.other = other

    @property
    def collate(self):
        return self.function

    @collate.setter
    def collate(self, function):
        self.other.wait()
        self.function = function


def test_install_and_uninstall(monkeypatch):
    with on_another_thread(tensorlift.uninstall) as other:
        slow = SlowToInstall(other)
        monkeypatch.setattr(install, "torch_collate", slow)
        tensorlift.install()
    assert not other.ended_inside
    assert slow.collate is install._TORCHS


def test_reducers_are_registered_once(monkeypatch):
    before = shared._reducers_before()
    with on_another_thread(shared._reducers_before) as other:
        registered = {torch.Tensor: before.tensor, torch.UntypedStorage: before.storage}

        def slow():
            other.wait()
            return registered

        monkeypatch.setattr(shared, "extra_reducers", slow)
        monkeypatch.setattr(shared, "_before", None)
        assert shared._reducers_before() == before
    assert not other.ended_inside
    assert other.result == before
