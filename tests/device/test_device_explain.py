"""explain(device=) says what is sent, and how: what the fake accelerator counts when it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tensorlift
from support.batches import OPTIONS, lists, options_for
from support.device_fixtures import FAKE, NAME, mixed, needs_fake
from tensorlift import explain

DEVICE = torch.device(NAME, 0)
F, U8, I64 = np.float32, np.uint8, np.int64


def ones(*shape, dtype=F):
    return np.ones(shape, dtype)


def pinned(*shape, dtype=F):
    array = tensorlift.empty_pinned(shape, dtype)
    array[...] = 1
    return array


def named(operation):
    return st.tuples(st.just(operation), options_for(operation))


def counted(operation: str, arrays: list, **options) -> dict[str, int]:
    """What is counted while it is done."""
    torch.accelerator.synchronize()
    FAKE.reset_stats()
    result = getattr(tensorlift, operation)(arrays, device=NAME, **options)
    stats = FAKE.stats()
    del result
    # A copy that runs is counted when it is enqueued; each buffer's event is recorded once, and one
    # for the caller's stream.
    return {
        "windows": stats["event_record"] - 1,
        "copies": stats["h2d"],
        "nbytes": stats["h2d_bytes"],
        "casts": stats["d2d_cast"],
    }


def check(operation: str, arrays: list, *, normalizes=False, **options) -> tensorlift.Explanation:
    ours = {name: value for name, value in options.items() if name not in ("threads",)}
    said = explain(arrays, operation=operation, device=NAME, **ours)
    assert said.error is None
    assert said.transfer is not None
    found = counted(operation, arrays, **options)
    if operation == "from_numpy" and not arrays:
        found["windows"] = 0  # nothing is asked of the device
    expected = {name: getattr(said.transfer, name) for name in found}
    if normalizes:  # several kernels for one
        assert (found.pop("casts") > 0) == (expected.pop("casts") > 0)
    assert expected == found
    assert said.transfer.device == DEVICE
    return said


LISTS = {
    "none": [],
    "one": [ones(3)],
    "mixed": mixed(),
    "without elements": [ones(0), ones(3, 0), np.float32(1), ones(2)],
    "all without elements": [ones(0), ones(3, 0)],
    "large and small": [ones(600, 1000), ones(5), ones(700, 900, dtype=np.float64), ones(9)],
    "to be cast": [ones(300, 300, dtype=U8), ones(40, dtype=I64), ones(2000, 300, dtype=U8)],
    "strided": [ones(400, 900)[::2, ::-1], ones(5, 5).T, ones(900, 900, dtype=U8)[::2]],
    "swapped": [ones(7).astype(">f4"), ones(600, 600).astype(">f4")],
}


@needs_fake
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("chunk", [16 << 10, 4 << 20])
def test_lists(name, dtype, pack, chunk):
    tensorlift.set_staging(chunk_bytes=chunk)
    said = check("from_numpy", LISTS[name], dtype=dtype, pack=pack)
    for entry, array in zip(said, LISTS[name], strict=True):
        assert entry.action == "copied"
        assert entry.sent == ("packed" if array.size else None)
        is_cast = (
            entry.dtype_out != torch.from_numpy(np.ones(1, array.dtype.newbyteorder("="))).dtype
        )
        assert (entry.cast_on is not None) == (is_cast and array.size > 0)


@needs_fake
@pytest.mark.parametrize("non_blocking", [True, False])
def test_arrays_in_pinned_memory(non_blocking):
    """From where they lie, where nobody can change them meanwhile and nothing has to be done."""
    large = pinned(600, 1000)
    arrays = [large, ones(600, 1000), pinned(8), large[::2], pinned(600, 1000, dtype=U8)]
    said = check("from_numpy", arrays, non_blocking=non_blocking)
    way = "packed" if non_blocking else "pinned"
    assert [entry.sent for entry in said] == [way, *["packed"] * 4]
    said = check("from_numpy", arrays, non_blocking=non_blocking, dtype=torch.float32)
    assert [(entry.sent, entry.cast_on) for entry in said] == [
        (way, None),
        *[("packed", None)] * 3,
        (way, "device"),
    ]


def test_where_a_cast_is_done():
    """On the device where that saves bytes on the way there."""
    wide, narrow = ones(500, 500, dtype=U8), ones(500, 500, dtype=np.float64)
    said = explain([wide, narrow], device=NAME, dtype=torch.float32)
    assert [entry.cast_on for entry in said] == ["device", "host"]
    for operation, arrays, expected in (
        ("stack", [wide] * 2, "device"),
        ("stack", [narrow] * 2, "host"),
        ("stack", [wide[:2]] * 2, "host"),  # not worth a kernel
        ("pad", [wide, wide[:9]], "device"),
    ):
        said = explain(arrays, operation=operation, device=NAME, dtype=torch.float32)
        assert {entry.cast_on for entry in said} == {expected}
    said = explain(
        [wide, wide[:9]], operation="pad", device=NAME, dtype=torch.float32, padding_value=0.5
    )
    assert {entry.cast_on for entry in said} == {"host"}  # uint8 has no 0.5


IMAGES = [ones(90, 120, 3, dtype=U8), ones(70, 100, 3, dtype=U8)]
SAME = [ones(90, 120, 3, dtype=U8)] * 3
LAST = {"channel_dim": -1, "memory_format": torch.channels_last}
BATCHES = [
    ("stack", SAME, {}),
    ("stack", SAME, {"dtype": torch.float32}),
    ("stack", SAME, {"dim": 1, "dtype": torch.float16}),
    ("stack", SAME, {"dim": 2, **LAST}),
    ("stack", [ones(2, 9000)] * 3, {"dim": 1}),
    ("stack", [ones(0)] * 3, {}),
    ("stack", [np.float64(1)] * 3, {"dtype": torch.float32}),
    ("cat", [ones(3, 5), ones(3, 900)], {"dim": 1}),
    ("cat", [ones(3000, 5), ones(0, 5, dtype=U8)], {"dtype": torch.float64}),
    ("pad", IMAGES, {}),
    ("pad", IMAGES, {"mask": True, "mask_dim": (0, 1), "padding_value": 3}),
    ("pad", IMAGES, {"dtype": torch.float32, "mask": torch.float32, **LAST}),
    ("pad", IMAGES, {"dtype": torch.float32, "padding_value": 1, "pad_to_multiple_of": 64}),
    ("pad", [[1, 2], [3]], {"max_length": 1, "truncate": "right"}),
    ("jagged", [ones(3, 70), ones(500, 70), ones(0, 70)], {"offsets_dtype": torch.int32}),
    ("jagged", [ones(30_000, dtype=U8), ones(20, dtype=U8)], {"dtype": torch.int64}),
    ("pack", [np.arange(n) for n in (5, 900, 0, 30, 40)], {"max_tokens": 950}),
    ("pack", [np.arange(n) for n in (5000, 900)], {"max_tokens": 1000, "truncate": "left"}),
]


@needs_fake
@pytest.mark.parametrize(("operation", "arrays", "options"), BATCHES)
@pytest.mark.parametrize("chunk", [4 << 10, 32 << 10, 4 << 20])
def test_batches(operation, arrays, options, chunk):
    tensorlift.set_staging(chunk_bytes=chunk)
    said = check(operation, arrays, **options)
    for entry in said:
        assert entry.sent == ("packed" if entry.nbytes > 0 else None)


@needs_fake
@pytest.mark.parametrize("operation", ["stack", "pad"])
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.float64])
def test_normalised_images(operation, dtype):
    how = {"channel_dim": -1, "scale": 1 / 255, "mean": (0.4, 0.5, 0.6), "std": 2, "dtype": dtype}
    images = SAME if operation == "stack" else IMAGES
    for arrays in (images, [image[:2, :2] for image in images]):
        said = check(operation, arrays, normalizes=True, **how)
        there = operation == "stack" and arrays is images
        assert {entry.cast_on for entry in said} == {"device" if there else "host"}


@needs_fake
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.filterwarnings("ignore:Casting complex")
@given(data=lists(), call=st.sampled_from(sorted(OPTIONS)).flatmap(named))
def test_what_is_made_up(data, call):
    operation, options = call
    options = {k: v for k, v in options.items() if k not in ("threads", "padding_side")}
    try:
        expected = getattr(tensorlift, operation)(data, **options)
    except (IndexError, TypeError, ValueError):
        return
    if not isinstance(expected, torch.Tensor) or expected.device.type == "cpu":
        check(operation, data, normalizes="scale" in options, **options)


def test_errors_are_those_of_the_operation():
    for operation, arrays in (("from_numpy", [ones(2), "text"]), ("stack", [ones(2), ones(3)])):
        said = explain(arrays, operation=operation, device=NAME)
        assert said.transfer is None
        assert said[1].action == "rejected"
        with pytest.raises((TypeError, ValueError)) as error:
            getattr(tensorlift, operation)(arrays, device=NAME)
        assert str(error.value) == (said.error if operation == "stack" else said[1].error)
        assert {entry.sent for entry in said} == {None}
    with pytest.raises(ValueError, match=r"^copy: expected None or True with device="):
        explain([ones(2)], device=NAME, copy=False)
    with pytest.raises(ValueError, match=r"^device: "):
        explain([ones(2)], device="nowhere")
    with pytest.raises(TypeError, match=r"^non_blocking: "):
        explain([ones(2)], device=NAME, non_blocking=1)


def test_nothing_is_sent(fake):
    fake.reset_stats()
    explain([ones(700, 700)] * 5, device=NAME)
    explain([ones(700, 700)] * 5, operation="pad", mask=True, device=NAME)
    stats = fake.stats()
    assert {name for name, count in stats.items() if count} == set()


def test_the_host_is_no_device():
    for device in (None, "cpu"):
        said = explain([ones(2)], device=device)
        assert said == explain([ones(2)])
        assert said[0].action == "shared"
        assert said.transfer is None


def test_how_it_is_printed():
    text = str(explain([ones(600, 1000), ones(5, dtype=U8)], device=NAME))
    assert text.splitlines()[1] == f"to {DEVICE}: 2 copies of 2.29 MiB, 1 window"
    assert text.splitlines()[2].split()[-1] == "sent"
    assert text.splitlines()[4].endswith("packed")
    long = str(explain([ones(500, 500, dtype=U8)] * 30, device=NAME, dtype=torch.float32))
    assert "packed, cast there" in long
