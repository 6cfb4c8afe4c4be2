"""stack, cat, pad and jagged on a device give what they give on the host, however it is cut."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

import tensorlift
from support.batches import OPTIONS, lists, options_for
from support.device_fixtures import NAME, needs_fake
from support.inputs import same_bits


def parts(result) -> list[torch.Tensor]:
    """Without a mask that was not asked for."""
    results = [result] if isinstance(result, torch.Tensor) else list(result)
    return [tensor for tensor in results if tensor is not None]


def check_like_host(operation: str, arrays: list, **options) -> None:
    function = getattr(tensorlift, operation)
    expected = parts(function(arrays, **options))
    results = parts(function(arrays, device=NAME, **options))
    for result, value in zip(results, expected, strict=True):
        assert result.device == torch.device(NAME, 0)
        assert result.dtype == value.dtype
        assert result.shape == value.shape
        if value.numel() > 0:
            assert result.stride() == value.stride()
        assert same_bits(result.cpu(), value)


def images(count: int, *shape: int, dtype=np.uint8) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, size=shape).astype(dtype) for _ in range(count)]


@pytest.mark.usefixtures("small_ring")
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16, torch.int64])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dim": 1},
        {"dim": -1},
        {"channel_dim": -1},
        {"channel_dim": -1, "memory_format": torch.channels_last},
        {"memory_format": torch.channels_last},
        {"dim": 2, "memory_format": torch.channels_last},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(40, 30, 3), (3, 5, 7), (128, 64, 4)])
def test_stack(shape, options, dtype):
    check_like_host("stack", images(11, *shape), dtype=dtype, **options)


@pytest.mark.usefixtures("small_ring")
@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_cat(dim, dtype):
    shapes = [[40, 30, 5] for _ in range(13)]
    for i, shape in enumerate(shapes):
        shape[dim] = i
    check_like_host("cat", [images(1, *shape)[0] for shape in shapes], dim=dim, dtype=dtype)


@pytest.mark.usefixtures("small_ring")
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("value", [0, 7])
@pytest.mark.parametrize("dtype", [None, torch.float32])
@pytest.mark.parametrize(
    "shapes",
    [
        [(n,) for n in range(1, 500, 7)],
        [(n, 40 - n) for n in range(40)],
        [(200, n, 3) for n in range(1, 60, 20)],  # slots larger than a buffer
        [(3, 4)] * 5,
    ],
    ids=["1-D", "2-D", "large", "equal"],
)
def test_pad(shapes, dtype, value, side):
    arrays = [images(1, *shape)[0] for shape in shapes]
    check_like_host("pad", arrays, padding_value=value, padding_side=side, dtype=dtype)


@pytest.mark.usefixtures("small_ring")
@pytest.mark.parametrize("mask_dim", [None, 0])
@pytest.mark.parametrize("mask", [True, torch.float32])
def test_masks(mask, mask_dim):
    arrays = [images(1, n, 40 - n)[0] for n in range(40)]
    options = {"padding_side": ("left", "right"), "mask": mask, "mask_dim": mask_dim}
    check_like_host("pad", arrays, max_length=(30, None), truncate="left", **options)


@pytest.mark.usefixtures("small_ring")
@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_jagged(dtype):
    arrays = [images(1, n, 7)[0] for n in range(1, 300, 3)]
    check_like_host("jagged", arrays, dtype=dtype)
    check_like_host("jagged", arrays, dtype=dtype, offsets_dtype=torch.int32)
    result = tensorlift.jagged(arrays, device=NAME)
    assert all(
        np.array_equal(t.cpu().numpy(), a) for t, a in zip(result.unbind(), arrays, strict=True)
    )
    assert result.max_length == 298
    assert result.lengths.device == torch.device(NAME, 0)


@pytest.mark.parametrize("operation", ["stack", "cat", "pad", "jagged"])
def test_empty_batches(operation):
    check_like_host(operation, [np.zeros((0, 3)), np.zeros((0, 3))])


@pytest.mark.parametrize("operation", ["stack", "cat", "pad", "jagged"])
def test_foreign_byte_order_and_tensors(operation):
    big = np.arange(6, dtype=">i4").reshape(2, 3)
    check_like_host(operation, [big, torch.ones(2, 3, dtype=torch.int32), big[::-1]])


def test_equal_dtypes_are_cast_on_the_device(fake):
    arrays = images(64, 64, 64, 3)
    fake.reset_stats()
    result = tensorlift.stack(arrays, device=NAME, dtype=torch.float32)
    stats = fake.stats()
    assert stats["d2d_cast"] == 1
    assert stats["h2d_bytes"] == sum(a.nbytes for a in arrays)
    assert torch.equal(result.cpu(), tensorlift.stack(arrays, dtype=torch.float32))


IMAGENET = {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.mark.usefixtures("small_ring")
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "options",
    [
        {"channel_dim": -1},
        {"channel_dim": -1, "channel_order": "bgr"},
        {"channel_dim": -1, "memory_format": torch.channels_last},
        {"channel_dim": -1, "dim": 1},
        {"channel_dim": -1, "mean": 0.5, "std": 0.25},
    ],
    ids=str,
)
@pytest.mark.parametrize("source", [np.uint8, np.int16, np.float16, np.float32])
def test_normalised(source, options, dtype):
    arrays = images(11, 90, 80, 3, dtype=source)
    check_like_host("stack", arrays, dtype=dtype, **{**IMAGENET, **options})


def test_bytes_are_sent_and_normalised_on_the_device(fake):
    arrays = images(64, 64, 64, 3)
    fake.reset_stats()
    result = tensorlift.stack(arrays, device=NAME, channel_dim=-1, **IMAGENET)
    numbers = 3 * 3 * 4  # scale, mean and std of each channel
    assert fake.stats()["h2d_bytes"] == sum(a.nbytes for a in arrays) + numbers
    assert same_bits(result.cpu(), tensorlift.stack(arrays, channel_dim=-1, **IMAGENET))


def test_what_is_padded_is_normalised_before_it_is_sent(fake):
    arrays = [images(1, size, 64, 3)[0] for size in range(60, 90)]
    fake.reset_stats()
    padded = tensorlift.pad(arrays, device=NAME, channel_dim=-1, mask=True, **IMAGENET)
    assert fake.stats().get("d2d_cast", 0) == 0
    expected = tensorlift.pad(arrays, channel_dim=-1, **IMAGENET)
    assert same_bits(padded.batch.cpu(), expected.batch)


def test_padding_that_the_sources_do_not_have_is_not_cast_on_the_device(fake):
    arrays = [np.full(n, 3, np.uint8) for n in range(1000, 1100)]
    fake.reset_stats()
    batch, sizes = tensorlift.pad(arrays, device=NAME, dtype=torch.float32, padding_value=-0.5)
    assert fake.stats().get("d2d_cast", 0) == 0
    assert batch.cpu().min() == -0.5
    assert sizes.cpu().flatten().tolist() == list(range(1000, 1100))


def test_sources_may_be_changed_after_the_call():
    arrays = images(10, 30, 30, dtype=np.float32)
    expected = tensorlift.stack(arrays)
    result = tensorlift.stack(arrays, device=NAME)
    for a in arrays:
        a[...] = 0
    assert torch.equal(result.cpu(), expected)


def outcome(function, arrays, options):
    try:
        return parts(function(arrays, **options))
    except (TypeError, ValueError, IndexError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("operation", sorted(OPTIONS))
def test_whatever_hypothesis_makes_up(operation):
    tensorlift.set_staging(chunk_bytes=4096, buffers=2)
    function = getattr(tensorlift, operation)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(arrays=lists(), options=options_for(operation))
    def check(arrays, options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = outcome(function, arrays, options)
            result = outcome(function, arrays, {**options, "device": NAME})
        if isinstance(expected, str):
            assert result == expected
            return
        assert not isinstance(result, str), result
        for a, b in zip(result, expected, strict=True):
            assert same_bits(a.cpu(), b)

    check()


@pytest.mark.usefixtures("small_ring")
@pytest.mark.parametrize("dtype", [None, torch.float32])
@pytest.mark.parametrize("strategy", ["first_fit_decreasing", "sequential"])
def test_pack(dtype, strategy):
    arrays = [images(1, n % 301, 7)[0] for n in range(0, 6000, 37)]
    expected = tensorlift.pack(arrays, 512, strategy=strategy, dtype=dtype)
    packed = tensorlift.pack(arrays, 512, strategy=strategy, dtype=dtype, device=NAME)
    for result, value in zip(packed, expected, strict=True):
        assert same_bits(result.cpu(), value)
    devices = [part.device.type for part in packed]
    assert devices == [torch.device(NAME).type] * 3 + ["cpu"] * 2
    for row, like in zip(packed.unbind(), expected.unbind(), strict=True):
        assert all(same_bits(a.cpu(), b) for a, b in zip(row, like, strict=True))
    assert packed.max_length == expected.max_length


def test_pack_into_pinned_memory():
    packed = tensorlift.pack([[1, 2], [3]], 4, pin_memory=True)
    assert [part.is_pinned() for part in packed] == [True, True, False, False, False]


def wide_rows():
    """Batches of which a row, or an array with what is around it, is larger than a buffer."""
    channels_last = {"memory_format": torch.channels_last}
    photos, how = images(3, 90, 120, 3), {"channel_dim": -1, "scale": 1 / 255, "mean": [1, 2, 3]}
    ragged = [photos[0], photos[1][:70], photos[2][:, :50]]
    planes = images(3, 3, 90, 120)
    yield "stack dim 1", "stack", images(3, 2, 9000), {"dim": 1}
    yield "stack dim 1, cast", "stack", images(3, 2, 9000), {"dim": 1, "dtype": torch.float16}
    yield "stack last dim", "stack", images(9000, 2, 3), {"dim": -1}
    yield "cat dim 1", "cat", [*images(2, 2, 9000), *images(3, 2, 5)], {"dim": 1}
    yield "pad images", "pad", ragged, {}
    yield "pad CHW", "pad", ragged, {"channel_dim": -1, "pad_to_multiple_of": 32}
    yield "pad left", "pad", ragged, {"padding_side": "left", "padding_value": 7}
    yield "pad normalised", "pad", ragged, how
    yield "pad in channels_last", "pad", ragged, {**how, **channels_last}
    yield "pad 1-D", "pad", images(1, 40_000) + images(2, 20_001), {"padding_value": 9}
    yield "slots among each other", "stack", planes, {"dim": 2, **channels_last}
    yield "the same, joined", "cat", images(3, 1, 3, 90, 120), {"dim": 1, **channels_last}
    yield "the same, normalised", "stack", photos, {**how, "dim": 1}
    yield "strided", "stack", [p[::-2, ::-1].T for p in photos], {"dim": 1}


@needs_fake
@pytest.mark.parametrize("name", [name for name, *_ in wide_rows()])
def test_what_is_larger_than_a_buffer_is_sent_in_parts(fake, name):
    (operation, arrays, options), *_ = [case for n, *case in wide_rows() if n == name]
    chunk, buffers = 8 << 10, 2
    tensorlift.set_staging(chunk_bytes=chunk, buffers=buffers)
    fake.reset_stats()
    check_like_host(operation, arrays, **options)
    copies = [int(entry.split()[1]) for entry in fake.log() if entry.startswith("h2d ")]
    windows = -(-sum(copies) // chunk)
    assert max(copies) <= chunk
    assert 3 <= len(copies) <= windows + 3  # of sizes, and where two tensors meet
    stats = fake.stats()
    # Copies run as late as they may, all of them when the host waits for one: it does only where
    # all buffers are on their way, and then fills as many again.
    assert 1 <= stats["event_sync"] <= len(copies) // buffers
    assert stats["h2d_pageable"] == stats["h2d_with_gil"] == 0
    assert tensorlift._C.staging_bytes() == buffers * chunk
    assert fake.live_pinned_bytes() == buffers * chunk
