"""convert gives what torch's default_convert gives, all arrays in one call."""

import collections
import types
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import pytest
import torch
from test_collate import DictOfMine, ListOfMine, Point, like
from torch.utils.data import default_convert

import tensorlift
from tensorlift._data.tree_convert import replace_leaves


class ArrayOfMine(np.ndarray):
    pass


TREES = {
    "array": np.arange(3),
    "scalar": np.float32(1.5),
    "number": 5,
    "nothing": None,
    "text": "abc",
    "text of NumPy": np.str_("abc"),
    "tensor": torch.ones(2),
    "text array": np.array(["a"]),
    "object array": np.array([None]),
    "dict": {"a": np.ones(2), "b": [np.zeros(1), (np.int64(3), "x")]},
    "ordered dict": collections.OrderedDict(b=np.ones(1), a=2),
    "dict of mine": DictOfMine(a=np.ones(1)),
    "read-only dict": types.MappingProxyType({"a": np.ones(1)}),
    "list of mine": ListOfMine([np.ones(1), 2]),
    "named tuple": Point(np.ones(1), {"x": np.ones(2)}),
    "deque": collections.deque([np.ones(1)]),
    "empty": [],
    "set": {1, 2},
    "counter": collections.Counter(a=2),
    "a counter beside an array": [collections.Counter(a=2), np.zeros(1)],
    "masked array": np.ma.array([1.0, 2.0], mask=[False, True]),
    "array of mine": np.zeros(2).view(ArrayOfMine),
    "matrix": np.array([[1, 2]]).view(np.matrix),
}


@pytest.mark.parametrize("name", TREES)
def test_as_torch_does(name):
    tree = TREES[name]
    if name in ("text array", "object array", "set", "masked array", "array of mine"):
        assert tensorlift.convert(tree) is tree
        assert default_convert(tree) is tree
    else:
        assert like(tensorlift.convert(tree), default_convert(tree))


def test_memory_is_shared():
    tree = {"a": [np.zeros(3)]}
    tensors = tensorlift.convert(tree)
    tree["a"][0][1] = 5
    assert tensors["a"][0].tolist() == [0, 5, 0]


def test_options_are_those_of_from_numpy():
    tree = [np.arange(3), {"x": np.ones(2)}]
    assert [
        t.dtype
        for t in (lambda r: [r[0], r[1]["x"]])(tensorlift.convert(tree, dtype=torch.float32))
    ] == [torch.float32] * 2
    with pytest.raises(ValueError, match=r"data\[1\]: expected an array that can be shared"):
        tensorlift.convert([np.ones(1), np.ones(3)[::-1]], copy=False)


def test_more_than_torch():
    @dataclass
    class Sample:
        image: object
        label: int

    sample = tensorlift.convert(Sample(np.arange(4)[::-1], 3))
    assert type(sample) is Sample
    assert sample.image.tolist() == [3, 2, 1, 0]
    assert sample.label == 3


def test_errors_name_the_place():
    tree = {"ok": np.ones(1), "deep": [{"point": Point(1, np.array(0, "M8[s]"))}]}
    with pytest.raises(TypeError, match=r'data\["deep"\]\[0\]\["point"\]\.y: expected a dtype'):
        tensorlift.convert(tree)
    with pytest.raises(TypeError, match=r"^data: expected a dtype with a torch counterpart"):
        tensorlift.convert(np.array(0, "M8[s]"))


def test_scalars_of_other_packages():
    assert tensorlift.convert({"x": ml_dtypes.bfloat16(1.5)})["x"].dtype == torch.bfloat16


def test_a_leaf_is_asked_about_once():
    """Whether a tensor is pinned, say, can change while others are sent."""
    answers = iter([True, False, True])
    tree = [np.ones(1), np.ones(2), np.ones(3)]
    result = replace_leaves(
        tree, lambda leaf: next(answers), lambda leaves: [torch.from_numpy(leaf) for leaf in leaves]
    )
    assert [type(leaf) for leaf in result] == [torch.Tensor, np.ndarray, torch.Tensor]
    assert [len(leaf) for leaf in result] == [1, 2, 3]
