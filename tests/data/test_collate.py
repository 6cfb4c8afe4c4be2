"""collate gives what default_collate gives, the exceptions included; errors name the place."""

from __future__ import annotations

import collections
import datetime
import gc
import math
import pathlib
import pickle
import re
import types
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate, get_worker_info
from torch.utils.data._utils import collate as utils
from torch.utils.data._utils.collate import collate as torchs_collate
from torch.utils.data._utils.collate import default_collate_fn_map

import tensorlift
from tensorlift import _C


class Point(NamedTuple):
    x: Any
    y: Any


@dataclass
class Sample:
    image: Any
    label: Any = 0


@dataclass(frozen=True)
class Frozen:
    x: Any
    derived: Any = field(init=False, default=1.0)

    def __post_init__(self):
        assert not isinstance(self.x, torch.Tensor), "not called for a batch"


class ListOfMine(list):
    pass


class DictOfMine(dict):
    pass


class Custom:
    def __init__(self, value):
        self.value = value


def like(a: Any, b: Any) -> bool:
    """Equal, in type as well."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, collections.abc.Mapping):
        return list(a) == list(b) and all(like(a[key], b[key]) for key in a)
    if isinstance(a, collections.abc.Sequence) and not isinstance(a, (str, bytes)):
        return len(a) == len(b) and all(map(like, a, b))
    return bool(a == b)


BATCHES = {
    "arrays": [np.arange(6).reshape(2, 3) + i for i in range(3)],
    "0-d arrays": [np.array(1.5), np.array(2.5)],
    "floats of NumPy": [np.float32(1), np.float32(2)],
    "doubles of NumPy": [np.float64(1), np.float64(2)],
    "ints of NumPy": [np.int16(1), np.int16(2)],
    "bools of NumPy": [np.bool_(True), np.bool_(False)],
    "complex of NumPy": [np.complex64(1j), np.complex64(2)],
    "ints": [0, 1, 2, 3],
    "ints and bools": [1, True],
    "bools": [True, False],
    "bools and ints": [True, 5],
    "ints and floats": [1, 2.5],
    "floats": [0.5, 1.5],
    "floats and ints": [0.5, 1],
    "infinities": [float("inf"), -1.0],
    "large ints": [2**62, -(2**63)],
    "text": ["a", "bb"],
    "bytes": [b"a", b"bb"],
    "text of NumPy": [np.str_("a"), np.str_("b")],
    "tensors": [torch.arange(3), torch.arange(3)],
    "tensors of several dtypes": [torch.arange(3), torch.ones(3)],
    "tensors that need gradients": [torch.ones(2, requires_grad=True)] * 2,
    "conjugated tensors": [torch.tensor([1 + 2j]).conj()] * 2,
    "parameters": [torch.nn.Parameter(torch.ones(2))] * 2,
    "arrays and tensors": [np.ones(3), torch.ones(3, dtype=torch.float64)],
    "dicts": [{"a": i, "b": np.full(2, i)} for i in range(3)],
    "dicts with more keys": [{"a": 0}, {"a": 1, "b": 2}],
    "ordered dicts": [collections.OrderedDict(b=1, a=2)] * 2,
    "default dicts": [collections.defaultdict(list, a=1)] * 2,
    "dicts of mine": [DictOfMine(a=1)] * 2,
    "read-only dicts": [types.MappingProxyType({"a": 1})] * 2,
    "user dicts": [collections.UserDict(a=1)] * 2,
    "counters": [collections.Counter("aab")] * 2,
    "named tuples": [Point(0, np.ones(2)), Point(1, np.zeros(2))],
    "tuples": [(0, np.ones(2)), (1, np.zeros(2))],
    "lists": [[0, 1], [2, 3]],
    "lists of mine": [ListOfMine([0, 1])] * 2,
    "deques": [collections.deque([0, 1])] * 2,
    "ranges": [range(3), range(3)],
    "empty tuples": [(), ()],
    "empty dicts": [{}, {}],
    "trees": [{"a": [(1, "x"), {"b": Point(np.ones(2), torch.zeros(1))}]} for _ in range(4)],
    "one sample": [{"a": np.ones((2, 2))}],
    "a tuple of samples": ({"a": 1}, {"a": 2}),
    "no elements": [np.zeros((0, 3)), np.zeros((0, 3))],
    "keys that are no text": [{1: 2, None: 3, (1, 2): 4}] * 2,
}


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.filterwarnings("ignore:In future, it will be an error for 'np.bool")  # torch 2.8
def test_as_torch_does(name):
    samples = BATCHES[name]
    expected = default_collate(samples)
    assert like(tensorlift.collate(samples), expected)
    assert like(torchs_collate(samples, collate_fn_map=default_collate_fn_map), expected)
    with tensorlift.install():
        assert like(default_collate(samples), expected)


def test_the_batch_has_memory_of_its_own():
    samples = [{"a": np.zeros(3), "b": 1} for _ in range(2)]
    batch = tensorlift.collate(samples)
    samples[0]["a"][...] = 5
    assert batch["a"].sum() == 0
    assert type(batch) is dict
    assert samples[0]["b"] == 1


def test_gradients_pass_through():
    weight = torch.ones(2, requires_grad=True)
    tensorlift.collate([{"w": weight}, {"w": weight}])["w"].sum().backward()
    assert weight.grad.tolist() == [2, 2]


ERRORS = {
    "shapes": (
        [{"image": np.ones((2, 3))}] * 5 + [{"image": np.ones((2, 4))}],
        'samples[5]["image"]: expected shape (2, 3) like samples[0]["image"], got (2, 4). Use',
    ),
    "shapes of tensors": (
        [Point(torch.ones(2), 0), Point(torch.ones(3), 0)],
        "samples[1].x: expected shape (2,) like samples[0].x, got (3,)",
    ),
    "shapes at the root": (
        [np.ones(2), np.ones(3)],
        "samples[1]: expected shape (2,) like samples[0], got (3,)",
    ),
    "objects": (
        [{"a": [0, np.array(["x"], dtype=object)]}],
        'samples[0]["a"][1]: expected a dtype with a torch counterpart, got object',
    ),
    "text arrays": (
        [(np.array(["x"]),)],
        "samples[0][0]: expected a dtype with a torch counterpart",
    ),
    "nothing": ([{"a": None}], 'samples[0]["a"]: default_collate: batch must contain tensors'),
    "lengths": ([[0, 1], [0]], "samples[1]: expected 2 elements like samples[0], got 1"),
    "an array among numbers": ([1, None], "samples[1]: expected a number like samples[0], got"),
    "text among numbers": (
        [{"label": 1.5}, {"label": "a"}],
        'samples[1]["label"]: expected a number like samples[0]["label"], got str.',
    ),
    "an array among tensors": (
        [{"x": torch.ones(2)}, {"x": np.ones(2)}],
        'samples[1]["x"]: expected a tensor like samples[0]["x"], got ndarray.',
    ),
    "a number among arrays": (
        [np.ones(2), None],
        "samples[1]: expected numpy.ndarray, got NoneType",
    ),
    "large ints": ([2**64], ""),
    "datetimes": ([np.array(0, "M8[s]")], "samples[0]: expected a dtype with a torch counterpart"),
    "datetime scalars": (
        [np.datetime64(0, "s")],
        "samples[0]: expected a dtype with a torch counterpart",
    ),
}


NA = type("NAType", (), {})()  # as pandas has it
REMEDIES = {
    "none at all": ([{"m": None}], 'optional={"m": "drop"}'),
    "none in some": ([{"m": 1}, {"m": None}], 'optional={"m": "drop"}'),
    "none among arrays": ([(np.ones(2),), (None,)], 'optional={0: "drop"}'),
    "none among tensors": ([(torch.ones(2),), (None,)], 'optional={0: "drop"}'),
    "missing in pandas": ([{"age": NA}], "fillna"),
    "missing in some rows": ([{"age": 1}, {"age": NA}], "fillna"),
    "missing text": ([{"city": math.nan}, {"city": "Oslo"}], "None"),
    "arrays among tensors": ([(torch.ones(2),), (np.ones(2),)], "torch.as_tensor"),
    "dates": ([{"t": datetime.datetime(2026, 1, 1)}], "timestamp()"),
    "paths": ([{"file": pathlib.PurePath("a.png")}], "str(path)"),
}


@pytest.mark.parametrize("name", REMEDIES)
def test_what_to_do_about_a_value(name):
    samples, remedy = REMEDIES[name]
    with pytest.raises((TypeError, RuntimeError)) as caught:
        tensorlift.collate(samples)
    assert remedy in str(caught.value).partition(". ")[2]
    if "optional" in remedy:  # it works
        place = "m" if '"m"' in remedy else 0
        tensorlift.Collate(optional={place: "drop"})(samples)


def test_text_after_a_tensor():
    with pytest.raises(TypeError, match=r"expected a tensor like .*, got str\.$"):
        tensorlift.collate([{"x": torch.ones(2)}, {"x": "a"}])


@pytest.mark.parametrize("name", ERRORS)
def test_the_same_exceptions_with_the_place(name):
    samples, start = ERRORS[name]
    with pytest.raises(Exception) as expected:  # noqa: PT011
        default_collate(samples)
    with pytest.raises(expected.type) as caught:
        tensorlift.collate(samples)
    assert str(caught.value).startswith(start)
    with tensorlift.install(), pytest.raises(expected.type):
        default_collate(samples)


@pytest.mark.parametrize(
    ("sample", "place"),
    [
        (lambda x: {"a": x}, '"a"'),
        (lambda x: {'"': x}, "'\"'"),
        (lambda x: {3: x}, "3"),
        (lambda x: [x], "0"),
        (lambda x: {"a": (x,)}, "('a', 0)"),
        (lambda x: {"a": {"b": x}}, '"b"'),
        (lambda x: Point(x, 0), '"x"'),
        (lambda x: x, "()"),
    ],
)
@pytest.mark.parametrize("kind", [np.array, torch.tensor, list, tuple])
def test_the_remedy_for_shapes_is_one_for_loaders(sample, place, kind):
    """As it stands in the error it is Python, and works."""
    samples = [sample(kind([1, 2])), sample(kind([1, 2, 3]))]
    start = f"Use tensorlift.Collate(pad=[{place}]) for a batch of different shapes, or "
    with pytest.raises(RuntimeError, match=re.escape(start)) as raised:
        tensorlift.collate(samples)
    assert "equal size" in str(raised.value)  # for which MONAI looks
    remedies = re.findall(r"(Collate\([^()]*(?:\([^()]*\))?[^()]*\))", str(raised.value))
    assert len(remedies) == 2
    for remedy in remedies:
        assert eval("tensorlift." + remedy)(samples) is not None


def test_no_remedy_where_none_works():
    for ragged in ([{}], ["a"], [None], [np.ones(2)]):
        with pytest.raises(RuntimeError, match="equal size") as raised:
            tensorlift.collate([{"x": ragged}, {"x": ragged * 2}])
        assert "Collate" not in str(raised.value)


def test_a_missing_key_is_named():
    with pytest.raises(KeyError, match=r"samples\[1\]: expected the key 'b', as in samples\[0\]"):
        tensorlift.collate([{"a": 1, "b": 2}, {"a": 1}])


def test_no_samples():
    for none in ([], ()):
        with pytest.raises(IndexError, match="samples: expected at least one sample"):
            tensorlift.collate(none)


# ---- more than torch


def test_dataclasses():
    batch = tensorlift.collate([Sample(np.full(2, i), i) for i in range(3)])
    assert type(batch) is Sample
    assert batch.image.shape == (3, 2)
    assert batch.label.tolist() == [0, 1, 2]
    frozen = tensorlift.collate([{"f": Frozen(1)}, {"f": Frozen(2)}])["f"]
    assert frozen.x.tolist() == [1, 2]
    assert frozen.derived.tolist() == [1.0, 1.0]


def test_arrays_that_torch_refuses():
    arrays = [np.arange(4, dtype=">i4")[::-1], np.arange(4)[::2].repeat(2).astype("i4")]
    assert tensorlift.collate([{"a": a} for a in arrays])["a"].tolist() == [
        [3, 2, 1, 0],
        [0, 0, 2, 2],
    ]
    floats = np.ones(3, ml_dtypes.bfloat16)
    assert tensorlift.collate([floats, floats]).dtype == torch.bfloat16


def test_scalars_of_other_packages():
    half = [{"x": ml_dtypes.bfloat16(i / 2)} for i in range(3)]
    assert tensorlift.collate(half)["x"].tolist() == [0, 0.5, 1]
    days = [{"t": np.datetime64("2026-01-01")}] * 2
    assert tensorlift.Collate(dtype={"t": torch.int64})(days)["t"].dtype == torch.int64
    with pytest.raises(
        TypeError, match=r'samples\[0\]\["t"\]: .*Collate\(dtype={"t": torch.int64}'
    ):
        tensorlift.collate(days)


def test_masked_values_are_refused():
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    with pytest.raises(TypeError, match=r'samples\[1\]\["x"\]: .*mask'):
        tensorlift.collate([{"x": np.zeros(2)}, {"x": masked}])
    with tensorlift.install(), pytest.raises(TypeError, match="mask"):
        default_collate([masked])


def test_a_tensor_whose_storage_was_freed_is_refused():
    cut_off = torch.ones(4)
    cut_off.untyped_storage().resize_(8)
    for samples in ([torch.ones(4), cut_off], [cut_off], [(cut_off,)]):
        with pytest.raises(TypeError, match="its storage was freed"):
            tensorlift.collate(samples)


def test_samples_that_change_while_they_are_read():
    class Asked(type):
        def __instancecheck__(cls, value):
            samples.clear()
            return False

    class Key(metaclass=Asked):
        pass

    samples = [object() for _ in range(100)]
    with pytest.raises(IndexError, match="expected at least one sample"):
        tensorlift.collate(samples, collate_fn_map={Key: collate_custom})

    class Clears(dict):
        def __getitem__(self, key):
            for sample in batch:
                sample.clear()
            return np.zeros(2)

    batch = [{"a": np.zeros(2)}, Clears(a=1), {"a": np.zeros(2)}]
    with pytest.raises(KeyError, match=r"samples\[2\]: expected the key 'a'"):
        tensorlift.collate(batch)


@pytest.mark.parametrize("first", [{"a": 1}, [1], Point(1, 2), Sample(np.zeros(1), 1)])
def test_a_sample_that_is_none_is_named(first):
    with pytest.raises(
        TypeError, match=r"samples\[1\]: expected .* like samples\[0\], got NoneType"
    ):
        tensorlift.collate([first, None])


def test_another_default_device():
    samples = [{"a": np.zeros(2), "b": 1.0, "c": np.float32(2), "d": 3, "t": torch.ones(2)}] * 2
    with torch.device("meta"):
        expected = {key: (t.device, t.dtype) for key, t in default_collate(samples).items()}
        ours = tensorlift.collate(samples)
        assert {key: (t.device, t.dtype) for key, t in ours.items()} == expected
        assert (ours["d"].device.type, ours["t"].device.type) == ("meta", "cpu")
        with tensorlift.install():
            assert default_collate(samples)["a"].device.type == "meta"
    torch.set_default_device("cpu")
    try:
        assert like(tensorlift.collate(samples), default_collate(samples))
    finally:
        torch.set_default_device(None)


def test_nesting_without_end():
    endless = []
    endless.append(endless)
    for function in (default_collate, tensorlift.collate):
        with pytest.raises(RecursionError):
            function([endless])


# ---- types of one's own


def collate_custom(batch, *, collate_fn_map=None):
    return Custom([item.value for item in batch])


def test_types_of_ones_own():
    samples = [{"c": Custom(i), "x": np.ones(2)} for i in range(2)]
    batch = tensorlift.collate(samples, collate_fn_map={Custom: collate_custom})
    assert batch["c"].value == [0, 1]
    assert batch["x"].shape == (2, 2)
    with pytest.raises(TypeError, match=r'samples\[0\]\["c"\]: default_collate: batch must'):
        tensorlift.collate(samples)


def test_functions_in_torchs_map_count(monkeypatch):
    monkeypatch.setitem(default_collate_fn_map, Custom, collate_custom)
    assert tensorlift.collate([Custom(1), Custom(2)]).value == [1, 2]


def test_ones_own_function_for_arrays_comes_first():
    def total(batch, *, collate_fn_map=None):
        return sum(a.sum() for a in batch)

    samples = [{"a": np.ones(2)}, {"a": np.ones(3)}]
    assert tensorlift.collate(samples, collate_fn_map={np.ndarray: total}) == {"a": 5.0}


def test_ones_own_function_for_tensors_sees_arrays_too():
    def halved(batch, *, collate_fn_map=None):
        return torch.stack(batch).half()

    samples = [{"a": np.ones(2), "t": torch.ones(2), "s": np.float32(1)}] * 2
    full = {
        torch.Tensor: halved,
        **{k: v for k, v in default_collate_fn_map.items() if k is not torch.Tensor},
    }
    expected = torchs_collate(samples, collate_fn_map=full)
    assert expected["a"].dtype == torch.float16
    assert like(tensorlift.collate(samples, collate_fn_map={torch.Tensor: halved}), expected)
    with tensorlift.install():
        assert like(utils.collate(samples, collate_fn_map=full), expected)


def test_a_type_with_a_new_function_is_looked_up_again():
    samples = [Custom(1), Custom(2)]
    assert tensorlift.collate(samples, collate_fn_map={Custom: collate_custom}).value == [1, 2]
    with pytest.raises(TypeError, match="default_collate: batch must contain"):
        tensorlift.collate(samples)
    other = {Custom: lambda batch, *, collate_fn_map: "other"}
    assert tensorlift.collate(samples, collate_fn_map=other) == "other"


def test_install_and_uninstall():
    big_endian = [np.ones(2, ">f4")]
    for undo in (
        lambda installed: installed.__exit__(None, None, None),
        lambda _: tensorlift.uninstall(),
    ):
        installed = tensorlift.install()
        assert default_collate(big_endian).tolist() == [[1, 1]]
        undo(installed)
        tensorlift.uninstall()
        assert utils.collate is torchs_collate
        with pytest.raises(ValueError, match="byte order"):
            default_collate(big_endian)


def test_install_may_be_nested():
    with tensorlift.install():
        with tensorlift.install() as inner:
            pass
        inner.__exit__(None, None, None)  # once more changes nothing
        assert utils.collate is not torchs_collate
    assert utils.collate is torchs_collate
    tensorlift.install()  # the user's, which a library's `with` leaves alone
    with tensorlift.install():
        pass
    assert utils.collate is not torchs_collate
    tensorlift.uninstall()
    assert utils.collate is torchs_collate


# ---- data loaders


class Fields:
    """A dataset: dicts with several fields."""

    def __init__(self, count=20):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if i >= self.count:
            raise IndexError(i)
        return {
            "x": np.full((3, 4), i, np.float32),
            "label": i,
            "weight": i / 2,
            "scalar": np.int16(i),
            "name": str(i),
            "nested": [np.full(5, i), {"y": torch.full((2,), i)}],
        }


class Stream(IterableDataset):
    def __iter__(self):
        return iter(Fields())


def in_worker_too(samples):
    batch = tensorlift.collate(samples)
    if get_worker_info() is not None:
        assert isinstance(batch, dict)
        batch["added"] = batch["x"].sum()
        del batch["weight"]
        batch["nested"][0] = batch["nested"][0] + 1
    return batch


def batches(collate_fn, **options):
    return list(DataLoader(Fields(), batch_size=6, collate_fn=collate_fn, **options))


LOADERS = {
    "no worker": {},
    "fork": {"num_workers": 2, "multiprocessing_context": "fork"},
    "spawn": {"num_workers": 1, "multiprocessing_context": "spawn"},
    "persistent": {
        "num_workers": 1,
        "persistent_workers": True,
        "multiprocessing_context": "fork",
    },
    "four": {"num_workers": 4, "multiprocessing_context": "fork"},
}


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_in_a_data_loader(name):
    expected = batches(default_collate)
    results = batches(tensorlift.collate, **LOADERS[name])
    assert all(map(like, results, expected))
    with tensorlift.install():
        assert all(map(like, batches(None, **LOADERS[name]), expected))


class BigEndian(Dataset):
    """What torch's own functions refuse."""

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return np.full(2, i, ">f4")


def test_install_in_spawned_workers():
    options = {"batch_size": 2, "num_workers": 1, "multiprocessing_context": "spawn"}
    (batch,) = DataLoader(BigEndian(), worker_init_fn=tensorlift.install, **options)
    assert batch.tolist() == [[0, 0], [1, 1]]
    with pytest.raises(ValueError, match="byte order"):  # here it is not installed
        next(iter(DataLoader(BigEndian(), batch_size=2)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_batch_from_a_worker_lies_in_segments():
    for batch in batches(tensorlift.collate, **LOADERS["fork"]):
        tensors = [batch["x"], batch["label"], batch["nested"][0], batch["nested"][1]["y"]]
        assert all(_C.place_in_segment(t) is not None for t in tensors)
        assert all(t.data_ptr() % 64 == 0 for t in tensors)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_batch_may_be_changed_in_the_worker():
    for expected, batch in zip(
        batches(default_collate), batches(in_worker_too, **LOADERS["fork"]), strict=True
    ):
        assert type(batch) is dict
        assert batch["added"] == expected["x"].sum()
        assert "weight" not in batch
        assert torch.equal(batch["nested"][0], expected["nested"][0] + 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_iterable_datasets_and_batch_samplers():
    expected = batches(default_collate)
    loader = DataLoader(Stream(), batch_size=6, collate_fn=tensorlift.collate, num_workers=1)
    assert all(map(like, loader, expected))
    sampler = [[0, 5], [3], [1, 2, 4]]
    results = [
        list(DataLoader(Fields(), batch_sampler=sampler, collate_fn=function, num_workers=workers))
        for function, workers in ((tensorlift.collate, 1), (default_collate, 0))
    ]
    assert all(map(like, *results))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_errors_of_a_worker_reach_the_consumer(monkeypatch):
    class Ragged(Fields):
        def __getitem__(self, i):
            return {"x": np.zeros(i)}

    loader = DataLoader(Ragged(), batch_size=2, collate_fn=tensorlift.collate, num_workers=1)
    batches = iter(loader)
    with pytest.raises(RuntimeError, match=r'samples\[1\]\["x"\]: expected shape \(0,\)'):
        next(batches)
    # So long torch waits for a worker that had an error, and is not told to end.
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)
    del batches
    gc.collect()


@pytest.mark.parametrize("samples", [{"x": np.ones(2)}, iter([np.ones(2)]), 5])
def test_what_is_no_list_of_samples(samples):
    error = KeyError if isinstance(samples, dict) else TypeError  # as torch's
    with pytest.raises(error, match=r"samples: expected a sequence of samples, got \w+\. Pass"):
        tensorlift.collate(samples)


def test_a_batch_pickles_as_itself():
    batch = tensorlift.collate([{"a": np.ones(2)}] * 2)
    assert like(pickle.loads(pickle.dumps(batch)), batch)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tuples_of_text_stay_tuples_on_their_way_out_of_a_worker():
    rows = [(np.full(2, i), f"name {i}") for i in range(4)]
    results = [
        next(iter(DataLoader(rows, batch_size=4, collate_fn=function, num_workers=1)))
        for function in (tensorlift.collate, default_collate)
    ]
    assert like(*results)
