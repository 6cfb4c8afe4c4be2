"""Collate to a device and to pinned memory: one gather, one packed transfer."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tensorlift
from support.batches import lists
from support.device_fixtures import NAME
from support.inputs import same_bits
from support.strategies import TARGETS

DEVICE = torch.device(NAME, 0)
SMALL = {"x": (3,), "y": (2, 5), "empty": (0, 2), "scalar": ()}


def samples(count=4):
    rng = np.random.default_rng(0)
    return [
        {
            **{key: rng.normal(size=shape) for key, shape in SMALL.items()},
            "flag": np.bool_(i % 2),
            "i": i,
            "f": i / 2,
            "tensor": torch.full((2,), i),
            "tokens": np.arange(i),
            "image": rng.integers(0, 255, (5, 4, 3), np.uint8),
            "text": "a" * i,
        }
        for i in range(count)
    ]


def leaves(batch):
    return {
        key: [leaf for leaf in torch.utils._pytree.tree_leaves(value) if leaf is not None]
        for key, value in batch.items()
        if key != "text"
    }


@pytest.mark.parametrize("where", [{"device": NAME}, {"device": DEVICE}, {"pin_memory": True}])
@pytest.mark.parametrize(
    "options",
    [
        {"pad": {"tokens": 7}},
        {"jagged": {"tokens": torch.int32}},
        {"jagged": ["tokens"], "channel_dim": {"image": -1}, "channels_last": ["image"]},
        {"pad": ["tokens"], "dtype": torch.float32},
        {"pad": {"tokens": tensorlift.Pad(7, mask=torch.int64, pad_to_multiple_of=4)}},
        {
            "pad": {"tokens": tensorlift.Pad(mask="mask", sizes=False)},
            "dtype": {"mask": torch.int64, "tokens": torch.float32},
        },
        {"pad": ["tokens"], "dtype": {"y": torch.float16, "image": torch.float32}},
    ],
)
def test_the_same_as_on_the_host(where, options):
    expected = tensorlift.Collate(**options)(samples())
    batch = tensorlift.Collate(**options, **where)(samples())
    assert batch["text"] == expected["text"]
    assert list(batch) == list(expected)
    for key, tensors in leaves(expected).items():
        for tensor, other in zip(tensors, leaves(batch)[key], strict=True):
            is_there = other.device == DEVICE if "device" in where else other.is_pinned()
            assert is_there or (tensor.numel() == 0 and "device" not in where)
            assert other.dtype == tensor.dtype, key
            assert other.stride() == tensor.stride(), key
            assert torch.equal(other.cpu(), tensor), key


def test_places_with_options_go_with_the_others(fake):
    """One packed transfer, for which the host does not wait, however many places there are."""
    places = [f"tokens {k}" for k in range(9)]
    rows = [{place: np.arange(i + 1) for place in places} | {"x": i} for i in range(4)]
    fake.reset_stats()
    batch = tensorlift.Collate(device=NAME, pad=places[:5], jagged=places[5:])(rows)
    stats = fake.stats()
    assert stats["event_block"] == 1  # the consumer's stream is ordered once
    assert stats["h2d"] == 2 * 9 + 1  # one for each tensor
    assert batch[places[0]].batch.cpu().tolist()[1] == [0, 1, 0, 0]
    assert batch[places[8]].offsets.cpu().tolist() == [0, 1, 3, 6, 10]


def test_elements_are_cast_on_the_device_where_that_sends_less(fake):
    rows = [np.full(1 << 16, i, np.uint8) for i in range(4)]
    fake.reset_stats()
    batch = tensorlift.Collate(device=NAME, dtype=torch.float32)(rows)
    assert fake.stats()["h2d_bytes"] == 4 << 16
    assert batch.dtype == torch.float32
    assert batch.cpu()[:, 9].tolist() == [0, 1, 2, 3]


def test_many_buffers():
    """What is packed is cut anywhere, also within a column and in the gap behind it."""
    tensorlift.set_staging(chunk_bytes=4096, buffers=2)
    rows = [{str(k): np.full(k * 37 % 211, i + k, np.int16) for k in range(60)} for i in range(9)]
    expected = tensorlift.collate(rows)
    batch = tensorlift.Collate(device=NAME)(rows)
    assert all(torch.equal(batch[key].cpu(), expected[key]) for key in expected)


def test_what_torch_collates_arrives_too():
    """Tensors that need a gradient, and of types of the user's own, take torch's way."""

    @dataclasses.dataclass
    class Sample:
        x: object
        grad: object

    rows = [Sample(np.ones(2), torch.ones(2, requires_grad=True)) for _ in range(3)]
    batch = tensorlift.Collate(device=NAME)(rows)
    assert batch.x.device == batch.grad.device == DEVICE
    assert batch.grad.requires_grad
    batch = tensorlift.Collate(pin_memory=True)(rows)
    assert batch.x.is_pinned()
    assert batch.grad.is_pinned()


def test_ready_on_the_given_stream(fake):
    rows = [{"x": np.full(50, i), "late": torch.ones(2, requires_grad=True)} for i in range(4)]
    stream = torch.Stream(NAME)
    fake.reset_stats()
    fake.block_stream(None)  # the current one has work that does not end
    batch = tensorlift.Collate(device=NAME, stream=stream)(rows)
    with stream:
        assert batch["x"].cpu()[:, 9].tolist() == [0, 1, 2, 3]
        assert batch["late"].tolist() == [[1, 1]] * 4
    assert fake.stats()["forbidden_wait"] == 0


def test_the_host_waits_where_it_is_told_to(fake):
    rows = [{"x": np.full(50, i), "tensor": torch.ones(2)} for i in range(4)]
    there = tensorlift.Collate(device=NAME, non_blocking=False)(rows)
    assert fake.pending() <= 1  # the consumer's own wait for what has happened already
    on_its_way = tensorlift.Collate(device=NAME)(rows)
    assert fake.pending() > 1
    assert torch.equal(there["x"].cpu(), on_its_way["x"].cpu())


def test_a_stream_of_another_device_is_refused():
    collate = tensorlift.Collate(device=NAME, stream=torch.Stream(f"{NAME}:1"))
    with pytest.raises(ValueError, match=f"stream: expected a stream of {NAME}:0, got one of"):
        collate([np.ones(3)])
    collate = tensorlift.Collate(device="cpu", stream=torch.Stream(NAME))
    with pytest.raises(ValueError, match="stream: expected None for cpu, got"):
        collate([np.ones(3)])
    with pytest.raises(ValueError, match="stream: expected None without device=, got"):
        tensorlift.Collate(stream=torch.Stream(NAME))


def test_an_error_names_the_place():
    rows = [{"x": np.ones(2), "y": 1}, {"x": np.ones(3), "y": 2}]
    for options in ({}, {"dtype": torch.float32}):
        place = r'samples\[1\]\["x"\]: expected shape'
        with pytest.raises((RuntimeError, ValueError), match=place):
            tensorlift.Collate(device=NAME, **options)(rows)


@pytest.mark.parametrize("where", [{"device": NAME}, {"pin_memory": True}])
def test_whatever_hypothesis_makes_up(where):
    tensorlift.set_staging(chunk_bytes=4096, buffers=2)
    dtypes = st.none() | st.sampled_from(TARGETS)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(columns=st.lists(st.tuples(lists(), dtypes), min_size=2, max_size=6))
    def check(columns):
        count = min(len(arrays) for arrays, _ in columns)
        rows = [{k: arrays[i] for k, (arrays, _) in enumerate(columns)} for i in range(count)]
        options = {"dtype": {k: dtype for k, (_, dtype) in enumerate(columns) if dtype}}
        expected, batch = outcome(rows, options), outcome(rows, options | where)
        if isinstance(expected, str):
            assert isinstance(batch, str)  # of another column, if several are refused
            return
        assert not isinstance(batch, str), batch
        for key, tensor in expected.items():
            assert same_bits(batch[key].cpu(), tensor)

    check()


def outcome(rows, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return tensorlift.Collate(**options)(rows)
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            return f"{type(error).__name__}: {error}"


def test_images_are_sent_as_bytes_and_normalised_there(fake):
    rng = np.random.default_rng(0)
    rows = [{"image": rng.integers(0, 255, (64, 64, 3), np.uint8), "label": i} for i in range(64)]
    options = {
        "normalize": {"image": tensorlift.Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))},
        "channel_dim": {"image": -1},
    }
    fake.reset_stats()
    batch = tensorlift.Collate(device=NAME, **options)(rows)
    numbers = 3 * 3 * 4  # scale, mean and std of each channel
    assert fake.stats()["h2d_bytes"] == sum(r["image"].nbytes for r in rows) + 64 * 8 + numbers
    expected = tensorlift.Collate(**options)(rows)
    assert batch["image"].device == DEVICE
    assert same_bits(batch["image"].cpu(), expected["image"])
    assert torch.equal(batch["label"].cpu(), expected["label"])
