"""Collate: collate with options for the places that they name."""

import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.data import DataLoader

import tensorlift


def samples(count=4):
    return [
        {
            "image": np.full((6, 5, 3), i, np.uint8),
            "tokens": np.arange(i + 1),
            "points": np.full((i, 2), i, np.float64),
            "label": np.int64(i),
            "index": i,
            "inputs": {"image": np.full((2, 2), i)},
        }
        for i in range(count)
    ]


OPTIONS = tensorlift.Collate(
    dtype={"points": torch.float32, ("inputs", "image"): torch.float16, "label": torch.int32},
    pad={"tokens": -1},
    jagged=["points"],
    channel_dim={"image": -1},
    channels_last=[("image",)],
)


def test_each_place_in_its_own_way():
    batch = OPTIONS(samples())
    assert batch["image"].shape == (4, 3, 6, 5)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert batch["tokens"].batch.tolist()[:2] == [[0, -1, -1, -1], [0, 1, -1, -1]]
    assert batch["tokens"].sizes.flatten().tolist() == [1, 2, 3, 4]
    assert batch["points"].offsets.tolist() == [0, 0, 1, 3, 6]
    assert batch["points"].values.dtype == torch.float32
    assert batch["label"].dtype == torch.int32
    assert batch["index"].dtype == torch.int64
    assert batch["inputs"]["image"].dtype == torch.float16


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_channels_are_moved_and_the_memory_format_is_that_of_torch(kind):
    """Two options: moved channels lie contiguously, and a memory format moves none."""
    images = [kind(np.random.default_rng(i).normal(size=(6, 5, 3))) for i in range(2)]
    rows = [{"image": image} for image in images]
    stacked = torch.stack([torch.as_tensor(image) for image in images])
    moved = tensorlift.Collate(channel_dim={"image": -1})(rows)["image"]
    assert torch.equal(moved, stacked.permute(0, 3, 1, 2))
    assert moved.is_contiguous()
    last = tensorlift.Collate(channels_last=["image"])(rows)["image"]
    assert torch.equal(last, stacked)
    assert last.stride() == stacked.contiguous(memory_format=torch.channels_last).stride()
    both = tensorlift.Collate(channel_dim={"image": 2}, channels_last=["image"])(rows)["image"]
    assert torch.equal(both, moved)
    assert both.is_contiguous(memory_format=torch.channels_last)


def test_channels_are_moved_where_torch_stacks():
    """Tensors of a subclass are torch's to stack."""

    class Image(torch.Tensor):
        pass

    images = [torch.rand(6, 5, 3).as_subclass(Image) for _ in range(2)]
    for dim in (-1, 2, 0):
        moved = tensorlift.Collate(channel_dim={"x": dim})([{"x": image} for image in images])["x"]
        assert type(moved) is Image
        assert torch.equal(moved, torch.stack([image.movedim(dim, 0) for image in images]))


def test_images_of_different_sizes_are_padded_with_channels_in_front():
    rows = [{"image": np.full((n, 4, 3), n, np.uint8)} for n in (1, 2)]
    options = {"channel_dim": {"image": -1}, "channels_last": ["image"]}
    batch, sizes = tensorlift.Collate(pad={"image": 7}, **options)(rows)["image"]
    assert batch.shape == (2, 3, 2, 4)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert batch[0, 0].tolist() == [[1] * 4, [7] * 4]
    assert sizes.tolist() == [[3, 1, 4], [3, 2, 4]]


def test_a_channel_dimension_that_is_not_there():
    with pytest.raises(
        IndexError, match=r'samples\[0\]\["x"\]: expected a dimension channel_dim=2'
    ):
        tensorlift.Collate(channel_dim={"x": 2})([{"x": np.ones(2)}])
    with pytest.raises(
        ValueError, match=r'samples\[0\]\["x"\]: memory_format: expected a batch of 4'
    ):
        tensorlift.Collate(channels_last=["x"])([{"x": np.ones(2)}])


def test_one_dtype_for_all_arrays():
    batch = tensorlift.Collate(dtype=torch.float32)([{"a": np.ones(2), "b": np.int8(1), "c": 1}])
    assert [batch[key].dtype for key in "abc"] == [torch.float32, torch.float32, torch.int64]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
def test_it_pickles_and_works_in_workers():
    assert pickle.loads(pickle.dumps(OPTIONS)) == OPTIONS
    loader = DataLoader(samples(), batch_size=4, num_workers=1, collate_fn=OPTIONS)
    (batch,) = loader
    assert type(batch["tokens"]) is tensorlift.Padded
    assert type(batch["points"]) is tensorlift.Jagged
    assert batch["image"].shape == (4, 3, 6, 5)


def test_errors_name_the_place():
    with pytest.raises(ValueError, match=r'samples\[1\]\["x"\]: expected a 1-D array like samples'):
        tensorlift.Collate(pad=["x"])([{"x": np.ones(1)}, {"x": np.ones((1, 1))}])
    for option in ({"pad": ["x"]}, {"channel_dim": {"x": -1}}, {"channels_last": ["x"]}):
        (name,) = option
        with pytest.raises(ValueError, match=f"'x': expected one of jagged and {name}, got both"):
            tensorlift.Collate(jagged=["x"], **option)
    with pytest.raises(ValueError, match="pin_memory: expected False with device="):
        tensorlift.Collate(pin_memory=True, device="cpu")
    with pytest.raises(
        TypeError, match=r"pad: expected a collection of places, such as .* got 'x'"
    ):
        tensorlift.Collate(pad="x")
    with pytest.raises(
        ValueError, match=r'^samples\[0\]\["x"\]: padding_value: expected a number within'
    ):
        tensorlift.Collate(pad={"x": -1})([{"x": np.ones(1, np.uint8)}])


def test_what_jagged_cannot_join_is_for_pad():
    samples = [{"x": np.ones((2, n))} for n in (3, 4)]
    with pytest.raises(ValueError, match=r"use tensorlift.Collate\(pad=\[\"x\"\]\) for more"):
        tensorlift.Collate(jagged=["x"])(samples)
    tensorlift.Collate(pad=["x"])(samples)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels_last": True}, "channels_last: expected a collection of places, such as"),
        ({"channel_dim": ["x"]}, "channel_dim: expected a mapping from places .* got \\['x'\\]."),
        ({"channel_dim": -1}, "channel_dim: expected a mapping from places .* got -1."),
        ({"channel_dim": {"x": 0.5}}, "channel_dim: expected an int for 'x', got 0.5."),
        ({"dtype": "float32"}, "dtype: expected a torch.dtype, a mapping .* got 'float32'. Pass"),
        ({"dtype": {"x": "float32"}}, "dtype: expected a torch.dtype for 'x', got 'float32'. Pass"),
        ({"dtype": [{"x": 1}]}, "got a list. Samples are for the object: collate_fn=tensorlift.C"),
        ({"dtype": {"x": np.float32}}, "dtype: expected .* got <class 'numpy.float32'>. Pass"),
        ({"dtype": np.zeros(3)}, "dtype: expected .* got ndarray. Pass"),
        ({"threads": 1.5}, "threads: expected a positive int or None, got 1.5"),
        ({"stream": 3, "device": "cpu"}, "stream: expected a torch.Stream or None, got 3"),
        ({"non_blocking": 0}, "non_blocking: expected True or False, got 0"),
    ],
)
def test_mistakes_are_found_before_the_first_batch(options, message):
    with pytest.raises(TypeError, match=message):
        tensorlift.Collate(**options)


def test_as_many_threads_as_it_is_told_to():
    code = """
        import os, numpy, torch, tensorlift
        torch.set_num_threads(1)
        rows = [{"x": numpy.zeros(1 << 20, "f")}] * 4
        def tasks():
            return len(os.listdir("/proc/self/task"))
        before = tasks()
        tensorlift.Collate()(rows)
        assert tasks() == before
        batch = tensorlift.Collate(threads=3)(rows)
        assert tasks() == before + 2
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_no_accelerator_to_pin_for():
    """Nor with fake tensors, for which torch counts a CUDA device where there is none."""
    if torch.accelerator.is_available():
        pytest.skip("there is one")
    collate = tensorlift.Collate(pin_memory=True)
    with pytest.raises(ValueError, match="pinned memory: expected an accelerator"):
        collate(samples(1))
    with FakeTensorMode():
        pass
    with pytest.raises(ValueError, match="pinned memory: expected an accelerator"):
        collate(samples(1))


def test_a_cpu_is_no_device_to_send_to():
    batch = tensorlift.Collate(device="cpu")([{"x": np.ones(2)}] * 2)
    assert batch["x"].device.type == "cpu"


def test_a_misspelt_place_is_an_error_that_lists_the_places():
    collate = tensorlift.Collate(dtype={"imge": torch.float32})
    samples = [{"image": np.zeros(2), "in": [{"x": 1}, 2.0], "name": "a"}]
    there = (
        r'samples\[0\]\["image"\], samples\[0\]\["in"\]\[0\]\["x"\], samples\[0\]\["in"\]\[1\]\.'
    )
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"the place 'imge', got nothing.*are: {there}$"):
            collate(samples)
    with pytest.raises(ValueError, match="place 'name', got nothing"):
        tensorlift.Collate(pad=["name"])(samples)


def test_python_numbers():
    samples = [{"f": 1.5, "i": 2, "b": True, "s": np.float64(1), "l": [1.0, 2]}] * 2
    to_all = tensorlift.Collate(dtype=torch.float32)(samples)
    dtypes = [to_all[k].dtype for k in "fibs"] + [t.dtype for t in to_all["l"]]
    expected = [torch.float32, torch.int64, torch.bool, torch.float32, torch.float32, torch.int64]
    assert dtypes == expected
    named = tensorlift.Collate(dtype={"i": torch.int16, "f": torch.float16, 0: torch.bfloat16})(
        samples
    )
    assert [named[k].dtype for k in "fi"] == [torch.float16, torch.int16]
    assert named["l"][0].dtype == torch.bfloat16
    assert named["l"][0].tolist() == [1, 1]


def test_lists_of_numbers_are_padded_and_joined():
    samples = [{"ids": [5, 6, 7], "p": [[1.5, 2.5]]}, {"ids": [8], "p": []}]
    batch = tensorlift.Collate(pad={"ids": -1})([{"ids": s["ids"]} for s in samples])
    assert batch["ids"].batch.tolist() == [[5, 6, 7], [8, -1, -1]]
    assert batch["ids"].batch.dtype == torch.int64
    batch = tensorlift.Collate(jagged=["ids"])([{"ids": s["ids"]} for s in samples])
    assert batch["ids"].offsets.tolist() == [0, 3, 4]
    mixed = [{"ids": [1]}, {"ids": np.array([2, 3])}, {"ids": torch.tensor([4])}]
    assert tensorlift.Collate(pad=["ids"])(mixed)["ids"].sizes.flatten().tolist() == [1, 2, 1]
    with pytest.raises(
        TypeError, match=r'samples\[1\]\["ids"\]: expected an array, a tensor or a list'
    ):
        tensorlift.Collate(pad=["ids"])([{"ids": [1]}, {"ids": ["a"]}])


def test_keys_may_be_anything():
    sample = {
        ".x": np.arange(2),
        "x": np.arange(3),
        None: np.arange(1),
        3: np.arange(4),
        ("a", "b"): np.ones(1),
    }
    shorter = {key: value[:1] for key, value in sample.items()} | {"x": np.arange(3)}
    places = [".x", None, 3, ("a", "b")]
    batch = tensorlift.Collate(pad=places)([sample, shorter])
    assert all(type(batch[place]) is tensorlift.Padded for place in places)
    assert batch["x"].shape == (2, 3)


def test_hashable():
    options = {"pad": {"a": 0}, "dtype": {"b": torch.int8}, "jagged": ["c"]}
    options |= {"channel_dim": {"d": -1}, "channels_last": ["d"], "device": "cpu"}
    one, other = tensorlift.Collate(**options), tensorlift.Collate(**options)
    assert hash(one) == hash(other)
    assert one == other
    assert len({one, other, tensorlift.Collate()}) == 2


def test_a_device_that_is_not_there():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(
        ValueError, match="device: expected a device that torch can use here, got cuda"
    ):
        tensorlift.Collate(device="cuda")
