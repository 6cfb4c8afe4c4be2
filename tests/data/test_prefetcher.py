"""DevicePrefetcher is the loader that it wraps. (With an accelerator: tests/device.)"""

from __future__ import annotations

import collections
import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

import tensorlift

ROWS = [{"x": np.full(3, i, np.float32), "i": i} for i in range(20)]
Pair = collections.namedtuple("Pair", "x name")


def batches_of(loader):
    return [batch["i"].tolist() for batch in loader]


def test_it_converts():
    batches = [{"x": np.full(2, i), "name": str(i)} for i in range(3)]
    loader = tensorlift.DevicePrefetcher(batches, "cpu")
    assert len(loader) == 3
    for _ in range(2):  # again for every epoch
        results = list(loader)
        assert [b["x"].tolist() for b in results] == [[0, 0], [1, 1], [2, 2]]
        assert [b["name"] for b in results] == ["0", "1", "2"]
    assert all(isinstance(b["x"], torch.Tensor) for b in loader)


def test_bad_arguments():
    with pytest.raises(ValueError, match="depth: expected at least 1, got 0"):
        tensorlift.DevicePrefetcher([], "cpu", depth=0)
    with pytest.raises(TypeError, match="depth: expected an int"):
        tensorlift.DevicePrefetcher([], "cpu", depth=1.5)
    with pytest.raises(ValueError, match="threads: expected a positive int or None, got 0"):
        tensorlift.DevicePrefetcher([], "cpu", threads=0)
    with pytest.raises(ValueError, match="device: expected"):
        tensorlift.DevicePrefetcher([], "nonsense")
    with pytest.raises(TypeError, match="has no len"):
        len(tensorlift.DevicePrefetcher(iter([]), "cpu"))
    with pytest.raises(TypeError, match="sampler: expected no such argument for a loader of type"):
        tensorlift.DevicePrefetcher([], "cpu", sampler=None)
    with pytest.raises(TypeError, match="nonsense: expected no such argument"):
        tensorlift.DevicePrefetcher(DataLoader(ROWS), "cpu", nonsense=1)


def test_exceptions_come_in_their_place():
    def loader():
        yield np.ones(1)
        raise OSError("disk")

    batches = iter(tensorlift.DevicePrefetcher(loader(), "cpu"))
    assert next(batches).tolist() == [1]
    with pytest.raises(OSError, match="disk"):
        next(batches)


def test_read_only_arrays_are_copied():
    """As on a device, where they are all; without a warning."""
    array = np.zeros(3)
    array.flags.writeable = False
    (tensor,) = tensorlift.DevicePrefetcher([array], "cpu")
    tensor += 1
    assert array.sum() == 0


def test_attributes_are_the_loaders():
    loader = DataLoader(ROWS, batch_size=4, shuffle=True, collate_fn=tensorlift.collate)
    wrapped = tensorlift.DevicePrefetcher(loader, "cpu")
    assert isinstance(wrapped, DataLoader)
    assert isinstance(wrapped, tensorlift.DevicePrefetcher)
    names = {name for name in dir(loader) if not name.startswith("__")}
    for name in names - set(dir(tensorlift.DevicePrefetcher)):
        assert getattr(wrapped, name) == getattr(loader, name), name
    wrapped.worker_init_fn = print
    assert loader.worker_init_fn is print
    with pytest.raises(ValueError, match="should not be set after DataLoader is initialized"):
        wrapped.batch_size = 3
    with pytest.raises(AttributeError, match="'DataLoader' object has no attribute 'nonsense'"):
        _ = wrapped.nonsense
    assert wrapped.depth == 2
    wrapped.depth = 3
    assert wrapped.depth == 3
    assert not hasattr(loader, "depth")


def test_around_what_is_no_data_loader():
    wrapped = tensorlift.DevicePrefetcher([1, 2], "cpu")
    assert not isinstance(wrapped, DataLoader)
    assert wrapped.index(2) == 1
    assert not hasattr(wrapped, "sampler")


@pytest.mark.parametrize("make", [copy.copy, lambda it: pickle.loads(pickle.dumps(it))])
def test_it_can_be_copied_and_pickled(make):
    wrapped = tensorlift.DevicePrefetcher(DataLoader(ROWS, batch_size=4), "cpu", depth=5)
    made = make(wrapped)
    assert type(made) is tensorlift.DevicePrefetcher
    assert (made.depth, made.batch_size, made.device) == (5, 4, torch.device("cpu"))
    assert batches_of(made) == batches_of(wrapped)


def test_tuples_and_containers_without_arrays_stay_what_they_are():
    counts, shape, span = collections.Counter(a=2), torch.Size([2, 3]), range(3)
    batch = (np.ones(2), [1, (np.zeros(1), "a")], Pair(np.ones(1), "b"), counts, shape, span)
    (result,) = tensorlift.DevicePrefetcher([batch], "cpu")
    assert type(result) is tuple
    assert type(result[1]) is list
    assert type(result[1][1]) is tuple
    assert type(result[2]) is Pair
    assert isinstance(result[2].x, torch.Tensor)
    assert counts == {"a": 2}
    for kept, given in zip(result[3:], batch[3:], strict=True):
        assert kept is given


def plain_and_wrapped(epochs, **options):
    """What both loaders give under the same seed, and the state of the generator afterwards."""
    results = []
    for device in (None, "cpu"):
        loader = DataLoader(ROWS, batch_size=4, collate_fn=tensorlift.collate, **options)
        if device is not None:
            loader = tensorlift.DevicePrefetcher(loader, device)
        torch.manual_seed(5)
        seen = [(batches_of(loader), torch.rand(1).item()) for _ in range(epochs)]
        results.append((seen, torch.get_rng_state().tolist()))
    return results


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": True},
        {"shuffle": True, "num_workers": 1},
        {"sampler": RandomSampler(ROWS, replacement=True, num_samples=9)},
        {"sampler": DistributedSampler(ROWS, 2, 1)},
    ],
)
def test_the_same_batches_as_the_loaders_under_the_same_seed(options):
    plain, wrapped = plain_and_wrapped(3, **options)
    assert wrapped == plain


def test_set_epoch_reaches_the_sampler():
    sampler = DistributedSampler(ROWS, 2, 0)
    wrapped = tensorlift.DevicePrefetcher(DataLoader(ROWS, batch_size=5, sampler=sampler), "cpu")
    orders = []
    for epoch in range(3):
        wrapped.sampler.set_epoch(epoch)
        orders.append(tuple(i for batch in batches_of(wrapped) for i in batch))
    assert len(set(orders)) == 3


def test_iter_alone_does_nothing():
    class Loader:
        def __iter__(self):
            raise AssertionError("was iterated")

    torch.manual_seed(0)
    before = torch.get_rng_state()
    threads = threading.active_count()
    iter(tensorlift.DevicePrefetcher(Loader(), "cpu"))
    iter(tensorlift.DevicePrefetcher(DataLoader(ROWS, shuffle=True, num_workers=1), "cpu"))
    assert torch.equal(torch.get_rng_state(), before)
    assert threading.active_count() == threads


class Counted(DataLoader):
    """A class of the user's, with arguments of its own."""

    def __init__(self, rows, label):
        super().__init__(rows, batch_size=6, shuffle=True, drop_last=True)
        self.label = label


class Stream(IterableDataset):
    def __iter__(self):
        return iter(ROWS)


@pytest.mark.parametrize(
    ("loader", "arguments", "expected"),
    [
        (
            DataLoader(ROWS, batch_size=6, shuffle=True),
            {"sampler": SequentialSampler(ROWS)},
            DataLoader(ROWS, batch_size=6),
        ),
        (  # as Lightning gives them
            DataLoader(ROWS, batch_size=6, drop_last=True),
            {"sampler": range(9), "shuffle": False, "batch_sampler": None, "dataset": ROWS},
            DataLoader(ROWS, batch_size=6, drop_last=True, sampler=range(9)),
        ),
        (  # as Lightning gives them for a batch sampler of another class
            DataLoader(ROWS, batch_size=6),
            {
                "sampler": None,
                "shuffle": False,
                "batch_sampler": BatchSampler(range(9), 2, True),
                "batch_size": 1,
                "drop_last": False,
            },
            DataLoader(ROWS, batch_sampler=BatchSampler(range(9), 2, True)),
        ),
        (
            DataLoader(ROWS, batch_size=6, drop_last=True),
            {"batch_sampler": BatchSampler(range(9), 2, True)},
            DataLoader(ROWS, batch_sampler=BatchSampler(range(9), 2, True)),
        ),
        (
            DataLoader(ROWS, batch_sampler=BatchSampler(range(9), 2, True)),
            {"collate_fn": tensorlift.collate},
            DataLoader(ROWS, batch_sampler=BatchSampler(range(9), 2, True)),
        ),
        (
            Counted(ROWS, "a"),
            {"sampler": range(13)},
            DataLoader(ROWS, batch_size=6, sampler=range(13), drop_last=True),
        ),
        (
            DataLoader(Stream(), batch_size=3),
            {"sampler": None, "batch_sampler": None},
            DataLoader(Stream(), batch_size=3),
        ),
        (
            DataLoader(ROWS, batch_size=6, shuffle=True),
            {"dataset": ROWS[:8], "sampler": None, "shuffle": False},
            DataLoader(ROWS[:8], batch_size=6),
        ),
    ],
)
def test_arguments_of_the_loader_are_those_of_a_copy(loader, arguments, expected):
    before = vars(loader).copy()
    wrapped = tensorlift.DevicePrefetcher(loader, "cpu", **arguments)
    assert batches_of(wrapped) == batches_of(expected)
    assert (wrapped.batch_size, wrapped.drop_last) == (expected.batch_size, expected.drop_last)
    assert type(wrapped.loader) is type(loader)
    assert getattr(wrapped, "label", "none") == getattr(loader, "label", "none")
    assert vars(loader) == before
    with pytest.raises(ValueError, match="should not be set after"):
        wrapped.batch_size = 3


def test_close_ends_iterations():
    with tensorlift.DevicePrefetcher(DataLoader(ROWS, batch_size=4), "cpu") as wrapped:
        batches = iter(wrapped)
        next(batches)
    assert list(batches) == []
    assert len(list(wrapped)) == 5  # it can be iterated again
    wrapped.close()
    wrapped.close()


def test_into_tensors_of_the_host():
    into = {"x": torch.zeros(2, 2), "y": None}
    batches = [{"x": np.full((n, 2), n, np.float32), "y": "a" * n} for n in (2, 1)]
    loader = tensorlift.DevicePrefetcher(batches, "cpu", into=into)
    seen = []
    for batch in loader:
        assert batch["x"].data_ptr() == into["x"].data_ptr()
        seen.append((batch["x"].tolist(), batch["y"]))
    assert seen == [([[2, 2], [2, 2]], "aa"), ([[1, 1]], "a")]
    with pytest.raises(ValueError, match=r'into\["x"\]: expected 3 rows or more'):
        list(tensorlift.DevicePrefetcher([{"x": np.zeros((3, 2), np.float32)}], "cpu", into=into))
    with pytest.raises(ValueError, match=r'into\["x"\]: expected a tensor on cpu, got one on meta'):
        tensorlift.DevicePrefetcher([], "cpu", into={"x": torch.zeros(1, device="meta")})


def test_batches_that_lie_in_the_tensors_they_are_copied_to():
    memory = torch.arange(8.0)
    into = {"b": memory[:4], "a": memory[4:]}
    batch = {"b": memory[2:6].clone(), "a": memory[:4]}  # "b" is written first
    (seen,) = tensorlift.DevicePrefetcher([batch], "cpu", into=into)
    assert seen["a"].tolist() == [0, 1, 2, 3]
    assert seen["b"].tolist() == [2, 3, 4, 5]
    memory = torch.arange(4.0)
    (seen,) = tensorlift.DevicePrefetcher([memory[1:]], "cpu", into=memory[:3])
    assert seen.tolist() == [1, 2, 3]
