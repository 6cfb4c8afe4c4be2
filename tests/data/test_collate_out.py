"""collate(out=): batches in the caller's tensors."""

from __future__ import annotations

import array
import collections
import dataclasses
import pickle
import types
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

import tensorlift
from tensorlift import Collate, Normalize, Pad


class Point(NamedTuple):
    x: object
    y: object


@dataclasses.dataclass
class Record:
    image: object
    label: object


def samples(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "x": rng.normal(size=(2, 3)),
            "i": i + seed,
            "f": i / 2 + seed,
            "flag": bool(i % 2),
            "scalar": np.float32(i + seed),
            "tensor": torch.full((2,), i + seed),
            "mixed": i if i % 2 else float(seed),
            "name": str(i + seed),
            "point": Point(np.full(2, i), [i]),
            "record": Record(rng.integers(0, 9, (2, 2), np.uint8), (i,)),
            "swapped": np.arange(3, dtype=">i4") + seed,
            "view": rng.normal(size=(3, 2)).T,
            "memory": array.array("i", [i, seed]),
            "proxy": types.MappingProxyType({"a": np.ones(1) * seed}),
        }
        for i in range(count)
    ]


def tensors_of(batch):
    record = batch["record"] if isinstance(batch["record"], dict) else vars(batch["record"])
    plain = {**batch, "record": record, "proxy": dict(batch["proxy"])}
    leaves = torch.utils._pytree.tree_leaves(plain)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def for_torch(rows):
    """Without what torch does not know: a byte order, a record."""
    return [
        {
            **row,
            "swapped": row["swapped"].astype("i4"),
            "record": vars(row["record"]),
        }
        for row in rows
    ]


def test_the_batch_is_torchs_and_its_tensors_are_those_of_out():
    out = tensorlift.collate(samples(4))
    batch = tensorlift.collate(samples(4, seed=5), out=out)
    expected = default_collate(for_torch(samples(4, seed=5)))
    assert batch is not out
    assert batch["name"] == expected["name"] == ["5", "6", "7", "8"]
    assert type(batch["point"]) is Point
    assert type(batch["record"]) is Record
    assert type(batch["proxy"]) is types.MappingProxyType
    assert len(tensors_of(batch)) == 16
    for tensor, other, there in zip(
        tensors_of(batch), tensors_of(expected), tensors_of(out), strict=True
    ):
        assert tensor is there
        assert tensor.dtype == other.dtype
        assert torch.equal(tensor, other)


def test_a_smaller_batch_is_the_first_rows():
    out = tensorlift.collate(samples(4))
    batch = tensorlift.collate(samples(3, seed=5), out=out)
    for tensor, other, there in zip(
        tensors_of(batch),
        tensors_of(tensorlift.collate(samples(3, seed=5))),
        tensors_of(out),
        strict=True,
    ):
        assert tensor.data_ptr() == there.data_ptr()
        assert tensor._base is there
        assert torch.equal(tensor, other)
    assert out["i"].tolist() == [5, 6, 7, 3]  # the last one is left alone


@pytest.mark.parametrize("kind", [list, tuple, collections.deque])
def test_samples_and_out_may_be_any_sequences(kind):
    out = kind([torch.zeros(2), torch.zeros(2, dtype=torch.int64)])
    batch = tensorlift.collate(kind([(np.float32(3), 1), (np.float32(4), 2)]), out=out)
    assert batch[0] is out[0]
    assert out[1].tolist() == [1, 2]


def test_none_is_a_new_tensor():
    out = {"x": None, "y": {"z": None}, "w": torch.zeros(2)}
    rows = [{"x": np.ones(1), "y": {"z": 1}, "w": np.float32(2)}] * 2
    batch = tensorlift.collate(rows, out=out)
    assert batch["x"].tolist() == [[1], [1]]
    assert batch["y"]["z"].tolist() == [1, 1]
    assert batch["w"] is out["w"]
    assert tensorlift.collate(rows, out={**out, "y": None})["y"]["z"].tolist() == [1, 1]


def test_any_strides():
    wide = torch.zeros(6, 8, dtype=torch.float64)
    nhwc = torch.zeros(2, 3, 4, 5, dtype=torch.uint8).to(memory_format=torch.channels_last)
    rows = [{"x": np.arange(3.0) + i, "image": np.full((3, 4, 5), i, np.uint8)} for i in range(2)]
    batch = tensorlift.collate(rows, out={"x": wide[::3, 1:7:2], "image": nhwc})
    assert batch["x"].tolist() == [[0, 1, 2], [1, 2, 3]]
    assert wide[:, ::2].count_nonzero() == 0
    assert batch["image"][1].unique().tolist() == [1]
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)


OPTIONS = {
    "dtype": {"x": torch.float32, "mask": torch.int64, "image": torch.float16},
    "pad": {"tokens": Pad(7, max_length=6, truncate="left", pad_to_multiple_of=6, mask="mask"),
            "masked": Pad(max_length=4, pad_to_multiple_of=4, mask=True, truncate="right"),
            "plain": Pad(max_length=4, pad_to_multiple_of=4, sizes=False, truncate="right")},
    "jagged": {"jagged": torch.int32},
    "normalize": {"image": Normalize((0.5, 0.4, 0.3), 0.5)},
    "channel_dim": {"image": -1},
    "channels_last": ["image"],
    "optional": {"maybe": "drop"},
}  # fmt: skip


def rows_for_options(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "x": rng.normal(size=2),
            "tokens": list(range(i + 1)),
            "masked": np.arange(i),
            "plain": np.arange(i + 1),
            "jagged": rng.normal(size=(i + seed % 2, 2)),
            "image": rng.integers(0, 255, (5, 4, 3), np.uint8),
            "maybe": None if i == 1 else i,
        }
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [5, 8])
def test_with_all_options(count):
    out = Collate(**OPTIONS)(rows_for_options(8, seed=1))
    collate = Collate(**OPTIONS, out=out)
    expected = Collate(**OPTIONS)(rows_for_options(count, seed=2))
    batch = collate(rows_for_options(count, seed=2))
    leaves = torch.utils._pytree.tree_leaves
    assert list(batch) == list(expected)
    for tensor, other, there in zip(leaves(batch), leaves(expected), leaves(out), strict=True):
        assert tensor.data_ptr() == there.data_ptr()
        assert torch.equal(tensor, other)
    assert batch["mask"].dtype == torch.int64


def test_options_that_compare_and_pickle():
    out = {"x": torch.zeros(2, 2)}
    collate = Collate(dtype=torch.float32, out=out)
    assert collate == Collate(dtype=torch.float32)
    assert hash(collate) == hash(Collate(dtype=torch.float32))
    assert "0." not in repr(collate)
    again = pickle.loads(pickle.dumps(collate))
    assert again([{"x": np.ones(2)}] * 2)["x"] is again.out["x"]


ONE = [{"x": np.arange(3.0), "y": 1}] * 2
GOOD = {"x": (2, 3), "y": (2,)}


def buffers(**changed):
    out = {
        "x": torch.zeros(2, 3, dtype=torch.float64),
        "y": torch.zeros(2, dtype=torch.int64),
    }
    return {**out, **changed}


F8 = torch.float64


@pytest.mark.parametrize(
    ("out", "kind", "text"),
    [
        (buffers(x=torch.zeros(2, 3)), ValueError,
         r'out\["x"\]: expected dtype torch.float64, got torch.float32. Use tensorlift.Collate\('
         r'dtype=\{"x": torch.float32\}\) to cast to it'),
        (buffers(x=torch.zeros(1, 3, dtype=F8)), ValueError,
         r'out\["x"\]: expected 2 rows or more of shape \(3,\), got 1. Make it for the largest'),
        (buffers(x=torch.zeros(2, 4, dtype=F8)), ValueError,
         r'out\["x"\]: expected 2 rows or more of shape \(3,\), got shape \(2, 4\)'),
        (buffers(x=torch.zeros(2, 3, 1, dtype=F8)), ValueError, r"got shape \(2, 3, 1\)"),
        (buffers(x=torch.zeros((), dtype=F8)), ValueError, r"got shape \(\)"),
        (buffers(x=torch.zeros(0, dtype=F8)), ValueError, r"got shape \(0,\)"),
        (buffers(x=torch.zeros(2, 3, dtype=F8, requires_grad=True)), ValueError,
         r'out\["x"\]: expected a tensor that needs no gradient'),
        (buffers(x=torch.zeros(1, 3, dtype=F8).expand(2, 3)), ValueError,
         r'out\["x"\]: expected a tensor whose dimensions do not overlap'),
        (buffers(x=torch.zeros(2, 3, dtype=F8).to_sparse()), ValueError,
         r'out\["x"\]: expected a strided tensor'),
        (buffers(x=torch.zeros(2, 3, dtype=F8, device="meta")), ValueError,
         r"expected a device with memory, got meta"),
        (buffers(y=torch.zeros(2, dtype=torch.int64, device="meta")), ValueError,
         r'out\["y"\]: expected a tensor in the host\'s memory, got one on meta'),
        (buffers(y=[1, 2]), TypeError, r'out\["y"\]: expected a torch.Tensor, or None .* got list'),
        (buffers(y=np.zeros(2, np.int64)), TypeError, "got numpy.ndarray"),
        (buffers(z=None), ValueError, r"expected the keys of the batch, \('x', 'y'\), got .* 3"),
        ({"x": None}, ValueError, r'out\["y"\]: expected a tensor, or None .* got no such key'),
        ([None, None], TypeError, "out: expected a mapping, got list"),
        (torch.zeros(2), TypeError, "out: expected a mapping, got Tensor"),
        ("ab", TypeError, "out: expected a mapping, got str"),
        (5, TypeError, "out: expected a mapping, got int"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_nothing_is_written(out, kind, text):
    with pytest.raises(kind, match=text):
        tensorlift.collate(ONE, out=out)
    for tensor in torch.utils._pytree.tree_leaves(out):
        if isinstance(tensor, torch.Tensor) and not tensor.is_meta:
            assert tensor.detach().to_dense().count_nonzero() == 0


def test_sequences_and_records_that_do_not_fit():
    rows = [(1, Point(2, 3), Record(4, 5))] * 2
    two = torch.zeros(2, dtype=torch.int64)
    good = [two, (two.clone(), two.clone()), Record(two.clone(), two.clone())]
    assert tensorlift.collate(rows, out=good)[2].label.tolist() == [5, 5]
    for out, text in (
        (good[:2], "out: expected a sequence of 3, got one of 2"),
        ([two, two, good[2]], r"out\[1\]: expected a sequence of 2, got Tensor"),
        ([two, "ab", good[2]], r"out\[1\]: expected a sequence of 2, got str"),
        ([two, good[1], two], r"out\[2\]: expected a record with the field 'image', got Tensor"),
        ([two, (None, two.float()), good[2]], r"out\[1\].y: expected dtype torch.int64"),
        ([two, None, Record(None, two.float())], r"out\[2\].label: expected dtype torch.int64"),
    ):
        with pytest.raises((TypeError, ValueError), match=text):
            tensorlift.collate(rows, out=out)


def test_a_tensor_where_the_batch_has_none():
    with pytest.raises(ValueError, match=r'out\["name"\]: expected None, because no tensor'):
        tensorlift.collate([{"name": "a"}], out={"name": torch.zeros(1)})
    assert tensorlift.collate(["a", "b"], out=None) == ["a", "b"]
    assert tensorlift.collate(["a", "b"], out=[None]) == ["a", "b"]
    with pytest.raises(ValueError, match="out: expected None, because no tensor"):
        tensorlift.collate(["a", "b"], out=torch.zeros(2))


def test_padded_places():
    out = Collate(pad=["t"])([{"t": [1, 2]}] * 2)
    collate = Collate(pad=["t"], out=out)
    assert collate([{"t": [1]}, {"t": [1, 5]}])["t"].batch is out["t"].batch
    with pytest.raises(ValueError, match=r"got shape \(2, 2\). Pad\(max_length=, pad_to_multiple"):
        collate([{"t": [1, 2, 3]}])
    with pytest.raises(TypeError, match=r'out\["t"\]: expected a sequence of 2, got Tensor'):
        Collate(pad=["t"], out={"t": out["t"].batch})([{"t": [1]}])
    with pytest.raises(ValueError, match=r"dtype=\{\"t\": torch.float32\}"):
        Collate(pad=["t"], out={"t": (torch.zeros(2, 2), None)})([{"t": [1, 2]}])
    mask = {"t": (None, None, torch.zeros(2, 2))}
    with pytest.raises(ValueError, match=r'out\["t"\]\[2\].*Pad\(mask=torch.float32\)'):
        Collate(pad={"t": Pad(mask=True)}, out=mask)([{"t": [1, 2]}])


def test_channels_last_is_asked_of_out():
    options = {"channel_dim": {0: -1}, "channels_last": [0]}
    rows = [(np.ones((4, 5, 3), np.uint8),)]
    with pytest.raises(ValueError, match=r"out\[0\]: expected strides of channels_last"):
        Collate(**options, out=[torch.zeros(1, 3, 4, 5, dtype=torch.uint8)])(rows)


def test_options_that_contradict_out():
    with pytest.raises(ValueError, match="pin_memory: expected False with out="):
        Collate(out=[torch.zeros(1)], pin_memory=True)
    with pytest.raises(ValueError, match="device: expected None or cpu, where the tensors of out"):
        Collate(out=[torch.zeros(1)], device="meta")
    assert Collate(out=[torch.zeros(1)], device="cpu")([(np.float32(3),)])[0].tolist() == [3]


def test_an_option_for_no_place_is_refused_before_anything_is_written():
    out = {"x": torch.zeros(1, dtype=torch.int64)}
    with pytest.raises(ValueError, match="expected something to collate"):
        Collate(dtype={"y": torch.int32}, out=out)([{"x": 5}])
    assert out["x"].item() == 0


def test_sources_in_out_are_read_first():
    memory = torch.arange(12.0)
    out = {"a": memory[:6].view(2, 3), "b": memory[6:].view(2, 3)}
    rows = [{"a": memory[6:9], "b": memory[1:4].numpy()}, {"a": memory[3:6], "b": memory[9:]}]
    expected = tensorlift.collate(rows)
    batch = tensorlift.collate(rows, out=out)
    assert batch["a"] is out["a"]
    assert torch.equal(batch["a"], expected["a"])
    assert torch.equal(batch["b"], expected["b"])


def test_what_a_function_made_may_lie_in_out():
    class Mine:
        pass

    memory = torch.arange(4.0)
    fn_map = {Mine: lambda values, **_: memory[2:]}
    out = [memory[:2], memory[2:]]
    batch = tensorlift.collate([(np.float32(9), Mine())] * 2, out=out, collate_fn_map=fn_map)
    assert batch[0].tolist() == [9, 9]
    assert batch[1].tolist() == [2, 3]
    batch = tensorlift.collate([(Mine(), 1)], out=[memory[:2], None], collate_fn_map=fn_map)
    assert batch[0] is not memory
    assert memory.tolist() == [2, 3, 2, 3]


@pytest.mark.parametrize("made", [torch.tensor(3.0), torch.ones(2, 2).to_sparse(), "text"])
def test_other_results_of_functions(made):
    fn_map = {complex: lambda values, **_: made}
    rows = [1j, 2j]
    assert tensorlift.collate(rows, out=[None], collate_fn_map=fn_map) is made
    out = torch.zeros(())
    if isinstance(made, torch.Tensor) and made.dim() == 0:
        assert tensorlift.collate(rows, out=out, collate_fn_map=fn_map) is out
        assert out.item() == 3
    else:
        with pytest.raises(ValueError, match="out: expected None, because"):
            tensorlift.collate(rows, out=out, collate_fn_map=fn_map)


def test_within_a_transformation_of_torchs():
    def collated(out):
        return tensorlift.collate(ONE, out={"x": out, "y": None})["x"]

    with pytest.raises(ValueError, match=r'out\["x"\]: expected (None|a strided tensor)'):
        torch.vmap(collated)(torch.zeros(4, 2, 3, dtype=F8))


def test_no_remedy_is_named_for_a_dtype_that_nothing_is_cast_to():
    with pytest.raises(ValueError, match=r"got torch.bits8\.$"):
        tensorlift.collate(ONE, out=buffers(x=torch.zeros(2, 3, dtype=torch.bits8)))


def test_buffers_that_share_memory():
    memory = torch.zeros(4, dtype=torch.int64)
    rows = [{"a": 1, "b": 2}] * 2
    for a, b in ((memory[:2], memory[:2]), (memory[:2], memory[1:3]), (memory[::2], memory[1::2])):
        with pytest.raises(ValueError, match="out: expected tensors whose memory neither overlaps"):
            tensorlift.collate(rows, out={"a": a, "b": b})
    batch = tensorlift.collate(rows, out={"a": memory[2:], "b": memory[:2]})
    assert memory.tolist() == [2, 2, 1, 1]
    assert batch["a"].tolist() == [1, 1]


def test_out_that_changes_while_it_is_read():
    first = torch.zeros(2, dtype=torch.int64)

    class Strange(dict):
        def __getitem__(self, key):
            if key == "b":
                first.resize_(1000)
            return super().__getitem__(key)

    out = Strange(a=first, b=torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected tensors that stay as they are"):
        tensorlift.collate([{"a": 1, "b": 2}] * 2, out=out)


def test_torch_sees_that_it_was_written():
    out = {"x": torch.zeros(2, dtype=torch.int64)}
    before = out["x"]._version
    tensorlift.collate([{"x": 1}] * 2, out=out)
    assert out["x"]._version > before
    before = out["x"]._version
    tensorlift.collate([{"x": 1}], out=out)
    assert out["x"]._version > before


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, i):
        return {"x": np.full(2, i), "name": str(i)}


def test_a_loader_without_workers():
    out = {"x": torch.zeros(4, 2, dtype=torch.int64), "name": None}
    seen = [
        (batch["x"].data_ptr(), batch["x"][:, 0].tolist(), batch["name"])
        for batch in DataLoader(Numbers(), batch_size=4, collate_fn=Collate(out=out))
    ]
    assert {place for place, _, _ in seen} == {out["x"].data_ptr()}
    assert [numbers for _, numbers, _ in seen] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert seen[2][2] == ["8", "9"]


def test_a_worker_refuses():
    out = {"x": torch.zeros(4, 2, dtype=torch.int64), "name": None}
    loader = DataLoader(Numbers(), batch_size=4, num_workers=1, collate_fn=Collate(out=out))
    with pytest.raises(ValueError, match="out: expected None in a worker of a DataLoader"):
        next(iter(loader))


def test_ten_thousand_steps_without_an_allocation():
    options = {
        "pad": {"t": Pad(max_length=64, pad_to_multiple_of=64, mask="mask", truncate="right")},
        "dtype": {"x": torch.float32},
    }
    rows = [{"x": np.arange(4096.0) + i, "y": i, "f": i / 3, "t": list(range(i))} for i in range(4)]
    out = Collate(**options)(rows)
    collate = Collate(**options, out=out)
    pointers = [tensor.data_ptr() for tensor in torch.utils._pytree.tree_leaves(out)]

    def of_memory(call, steps):
        with torch.profiler.profile(
            profile_memory=True,
            acc_events=True,  # torch 2.11 warns without it
            activities=[torch.profiler.ProfilerActivity.CPU],
        ) as profile:
            for _ in range(steps):
                batch = call(rows)
        assert len(torch.utils._pytree.tree_leaves(batch)) == len(pointers)
        return [e for e in profile.events() if e.name == "[memory]"], batch

    assert len(of_memory(Collate(**options), 3)[0]) >= 3  # those that can be seen
    events, batch = of_memory(collate, 10_000)
    assert events == []
    leaves = torch.utils._pytree.tree_leaves(batch)
    assert [tensor.data_ptr() for tensor in leaves] == pointers
