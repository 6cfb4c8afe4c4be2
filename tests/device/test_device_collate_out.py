"""collate(out=) into the caller's tensors on a device: one packed transfer, in stream order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import tensorlift
from support.device_fixtures import NAME, needs_fake
from tensorlift import Collate, Normalize, Pad

DEVICE = torch.device(NAME, 0)
OPTIONS = {
    "pad": {"tokens": Pad(7, max_length=8, pad_to_multiple_of=8, mask="mask")},
    "jagged": {"boxes": torch.int32},
    "dtype": {"x": torch.float32},
}


def rows(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "x": rng.normal(size=(3, 5)),
            "y": i + seed,
            "f": i / 2,
            "tensor": torch.full((2,), i + seed),
            "tokens": list(range(i + 1)),
            "boxes": rng.normal(size=(i, 4)),
            "late": torch.full((2,), float(i + seed), requires_grad=True),
            "name": str(i),
        }
        for i in range(count)
    ]


def to_device(tree):
    return pytree.tree_map_only(torch.Tensor, lambda t: t.detach().to(DEVICE), tree)


def buffers(options=OPTIONS, count=6):
    return {**to_device(Collate(**options)(rows(count))), "late": None}


def check(batch, expected, out):
    for tensor, other in zip(pytree.tree_leaves(batch), pytree.tree_leaves(expected), strict=True):
        if isinstance(tensor, torch.Tensor):
            assert tensor.device == DEVICE
            assert tensor.dtype == other.dtype
            assert torch.equal(tensor.cpu(), other)
        else:
            assert tensor == other
    for key in ("x", "y", "f", "tensor", "mask"):
        assert batch[key].data_ptr() == out[key].data_ptr()


@pytest.mark.parametrize("count", [6, 4])
def test_the_same_as_on_the_host(count):
    out = buffers()
    collate = Collate(**OPTIONS, out=out)
    for seed in range(3):
        check(collate(rows(count, seed)), Collate(**OPTIONS)(rows(count, seed)), out)
    plain = [{key: row[key] for key in ("x", "y")} for row in rows(6)]
    out = {"x": torch.zeros(6, 3, 5, dtype=torch.float64, device=DEVICE), "y": out["y"]}
    batch = tensorlift.collate(plain, out=out)
    assert batch["x"] is out["x"]
    assert torch.equal(batch["x"].cpu(), tensorlift.collate(plain)["x"])


@needs_fake
def test_one_transfer_without_an_allocation(fake):
    out = buffers()
    collate = Collate(**OPTIONS, out=out)
    samples = [{k: v for k, v in row.items() if k != "late"} for row in rows(6)]
    out.pop("late")
    collate(samples)
    torch.accelerator.synchronize()
    fake.set_mode(fake.EAGER)
    live = fake.live_device_bytes(), fake.live_pinned_bytes()
    for step in range(10_000):
        if step % 500 == 0:
            fake.reset_stats()
        collate(samples)
        if step % 500 == 499:
            stats = fake.stats()
            assert stats["device_alloc"] == stats["device_reuse"] == 0
            assert stats["pinned_alloc"] == stats["pinned_reuse"] == 0
            assert stats["h2d"] == 500 * 9  # one for each tensor
            assert stats["h2d_pageable"] == stats["h2d_with_gil"] == 0
            assert stats["d2d"] == 0
    assert (fake.live_device_bytes(), fake.live_pinned_bytes()) == live


@needs_fake
def test_it_is_written_after_what_reads_it_and_before_what_comes_next(fake):
    out = {"x": torch.zeros(4, 50, dtype=torch.int64, device=DEVICE)}
    seen = []
    for step in range(8):
        batch = tensorlift.collate([{"x": np.full(50, step)}] * 4, out=out)
        kept = torch.empty_like(batch["x"])
        kept.copy_(batch["x"], non_blocking=True)  # waits on the consumer's stream
        seen.append(kept)
    assert fake.pending() > 0
    assert [int(kept.cpu()[3, 49]) for kept in seen] == list(range(8))


@needs_fake
def test_buffers_that_are_dropped_at_once():
    """They go back to the pool of the stream that they are from, which the copies do not run on."""
    other = torch.Stream(NAME)
    torch.accelerator.synchronize()
    seen = []
    for step in range(6):
        with other:
            out = {"x": torch.zeros(4, 500, dtype=torch.int64, device=DEVICE)}
        torch.accelerator.current_stream(DEVICE).wait_stream(other)
        batch = tensorlift.collate([{"x": np.full(500, step)}] * 4, out=out)
        kept = torch.empty_like(batch["x"])
        kept.copy_(batch["x"], non_blocking=True)
        del out, batch
        with other:
            torch.full((4, 500), -1, dtype=torch.int64, device=DEVICE)
        seen.append(kept)
    assert [int(kept.cpu()[3, 499]) for kept in seen] == list(range(6))


@needs_fake
def test_on_a_stream_of_ones_own(fake):
    stream = torch.Stream(NAME)
    out = {"x": torch.zeros(4, 50, dtype=torch.int64, device=DEVICE)}
    torch.accelerator.synchronize()
    collate = Collate(out=out, stream=stream)
    fake.block_stream(None)  # the current one has work that does not end
    seen = []
    for step in range(4):
        batch = collate([{"x": np.full(50, step)}] * 4)
        with stream:
            kept = torch.empty_like(batch["x"])
            kept.copy_(batch["x"], non_blocking=True)
        seen.append(kept)
    with stream:
        assert [int(kept.cpu()[3, 49]) for kept in seen] == list(range(4))
    assert fake.stats()["forbidden_wait"] == 0


@needs_fake
@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_error_leaves_the_order_of_streams(fake, after):
    out = {"x": torch.zeros(4, 50, device=DEVICE), "y": torch.zeros(4, 50, device=DEVICE)}
    samples = [{"x": np.full(50, 1, np.float32), "y": np.full(50, 2, np.float32)}] * 4
    fake.fail_copy(after)
    if after < 2:
        with pytest.raises(RuntimeError):
            tensorlift.collate(samples, out=out)
    out["x"].fill_(9)  # after the copy that was enqueued
    fake.fail_copy(-1)
    if after < 2:
        assert out["x"].cpu().unique().tolist() == [9]
        torch.accelerator.synchronize()  # whatever nobody waited for
        assert out["x"].cpu().unique().tolist() == [9]
    batch = tensorlift.collate(samples, out=out)
    assert batch["x"].cpu().unique().tolist() == [1]
    assert batch["y"].cpu().unique().tolist() == [2]


def test_other_strides_on_the_device():
    samples = [{"image": np.random.default_rng(i).normal(size=(3, 4, 5))} for i in range(2)]
    out = {
        "image": torch.zeros(2, 3, 4, 5, dtype=torch.float64, device=DEVICE).to(
            memory_format=torch.channels_last
        )
    }
    stride = out["image"].stride()
    batch = tensorlift.collate(samples, out=out)
    assert batch["image"] is out["image"]
    assert batch["image"].stride() == stride
    assert torch.equal(batch["image"].cpu(), tensorlift.collate(samples)["image"])


def test_what_is_cast_or_normalised_on_the_device():
    rng = np.random.default_rng(0)
    samples = [{"image": rng.integers(0, 255, (64, 64, 3), np.uint8)} for _ in range(64)]
    for options in (
        {"dtype": torch.float32},
        {"normalize": {"image": Normalize((0.5, 0.4, 0.3), 0.2)}, "channel_dim": {"image": -1}},
    ):
        expected = Collate(**options)(samples)["image"]
        out = {"image": torch.zeros(expected.shape, device=DEVICE)}
        batch = Collate(**options, out=out)(samples[:60])
        assert batch["image"].data_ptr() == out["image"].data_ptr()
        assert torch.equal(batch["image"].cpu(), expected[:60])


def test_pinned_buffers():
    out = Collate(**OPTIONS, pin_memory=True)(rows(6))
    out["late"] = None
    batch = Collate(**OPTIONS, out=out)(rows(6, seed=1))
    assert batch["x"] is out["x"]
    assert batch["x"].is_pinned()
    assert torch.equal(batch["x"], Collate(**OPTIONS)(rows(6, seed=1))["x"])


def test_buffers_elsewhere_are_refused():
    samples = [{"x": 1, "y": 2}]
    there, here = (torch.zeros(1, dtype=torch.int64, device=d) for d in (DEVICE, "cpu"))
    with pytest.raises(ValueError, match=rf'out\["y"\]: expected a tensor on {DEVICE}, got .* cpu'):
        tensorlift.collate(samples, out={"x": there, "y": here})
    with pytest.raises(ValueError, match=r'out\["y"\]: expected a tensor in the host.s memory'):
        tensorlift.collate(samples, out={"x": here, "y": there})
    with pytest.raises(ValueError, match=rf"device: expected None or {DEVICE}, where .* got cpu"):
        Collate(device="cpu", out={"x": there})
    Collate(device=NAME, out={"x": there})
    with pytest.raises(ValueError, match="neither overlaps nor interleaves"):
        tensorlift.collate(samples, out={"x": there, "y": there})
