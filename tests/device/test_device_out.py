"""stack, cat, pad and jagged with an `out` on a device: one packed transfer, in stream order."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import tensorlift
from support.device_fixtures import FAKE, NAME, needs_capture_check, needs_fake
from tensorlift import reference

DEVICE = torch.device(NAME, 0)


@pytest.fixture(params=[tensorlift, reference], ids=["native", "reference"])
def tl(request):
    return request.param


def zeros(*shape, dtype=torch.float32):
    return torch.zeros(*shape, dtype=dtype, device=DEVICE)


def arrays(count=5, shape=(3, 40), dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 200, size=shape).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize("named", [False, True])
def test_it_is_filled_and_returned(tl, named):
    options = {"device": NAME} if named else {}
    given = arrays()
    expected = tensorlift.stack(given)
    out = zeros(5, 3, 40)
    assert tl.stack(given, out=out, **options) is out
    assert torch.equal(out.cpu(), expected)
    out = zeros(15, 40)
    assert tl.cat(given, out=out, **options) is out
    assert torch.equal(out.cpu(), expected.view(15, 40))
    out = zeros(5, 3, 40)
    padded = tl.pad(given, out=out, mask=True, **options)
    assert padded.batch is out
    assert torch.equal(out.cpu(), expected)
    assert padded.sizes.device == padded.mask.device == DEVICE
    assert padded.sizes.tolist() == [[3, 40]] * 5
    out = zeros(15, 40)
    values, offsets = tl.jagged(given, out=out, **options)
    assert values is out
    assert torch.equal(out.cpu(), expected.view(15, 40))
    assert offsets.tolist() == [0, 3, 6, 9, 12, 15]


@pytest.mark.usefixtures("small_ring")
@pytest.mark.parametrize("source", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_it_may_have_any_strides_and_dtypes(tl, source, dtype):
    """In one memory with other elements, which stay; through many buffers; cast there or here."""
    given = arrays(6, (50, 70), source)
    expected = tensorlift.stack(given, dtype=dtype)
    wide = zeros(9, 110, 220, dtype=dtype)
    places = [
        wide[2:8, 3:53, 5:75],
        wide[1:7, 1:101:2, ::3][:, :, :70],
        wide.permute(0, 2, 1)[:6, 11:61, 7:77],
        zeros(70, 6, 50, dtype=dtype).permute(1, 2, 0),
    ]
    for out in places:
        tl.stack(given, out=out, dtype=dtype)
        assert torch.equal(out.cpu(), expected)
        out.zero_()
        assert int(wide.cpu().count_nonzero()) == 0  # nothing beside it was written


def test_normalised_images(tl):
    given = arrays(4, (64, 64, 3), np.uint8)
    how = {"channel_dim": -1, "scale": 1 / 255, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
    for out in (zeros(4, 3, 64, 64), zeros(4, 64, 64, 3).permute(0, 3, 1, 2)):
        tl.stack(given, out=out, **how)
        assert torch.equal(out.cpu(), tensorlift.stack(given, **how))


def test_an_empty_one_is_resized(tl):
    given = arrays()
    out = zeros(0)
    assert tl.stack(given, out=out) is out
    assert torch.equal(out.cpu(), tensorlift.stack(given))
    nothing = zeros(2, 0)
    assert tl.stack([np.zeros(0, np.float32)] * 2, out=nothing) is nothing


WRONG = {
    "shape": lambda: zeros(2, 4, dtype=torch.float64),
    "dtype": lambda: zeros(2, 3, dtype=torch.int64),
    "expanded": lambda: zeros(2, 1, dtype=torch.float64).expand(2, 3),
    "overlapping": lambda: zeros(9, dtype=torch.float64).as_strided((2, 3), (1, 1)),
    "gradient": lambda: zeros(2, 3, dtype=torch.float64).requires_grad_(),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_one_that_does_not_fit_is_refused(tl, wrong):
    out = WRONG[wrong]()
    with pytest.raises((ValueError, TypeError), match=r"^out: expected "):
        tl.stack([np.ones(3), np.ones(3)], out=out)
    assert int(out.detach().cpu().count_nonzero()) == 0


@pytest.mark.skipif(FAKE is not None, reason="the fake accelerator resizes no storage")
def test_one_without_its_memory_is_refused(tl):
    out = zeros(2, 3, dtype=torch.float64)
    out.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match=r"^out: expected "):
        tl.stack([np.ones(3), np.ones(3)], out=out)


def test_another_device_than_its_own_is_refused(tl):
    there, here = zeros(2, 3), torch.zeros(2, 3)
    given = [np.ones(3, np.float32)] * 2
    for out, device in ((there, "cpu"), (here, NAME), (there, torch.device(NAME, 1))):
        with pytest.raises(ValueError, match=r"^out: expected "):
            tl.stack(given, out=out, device=device)
    with pytest.raises(ValueError, match=r"^pin_memory: |^device: "):
        tl.stack(given, out=there, pin_memory=True)
    with pytest.raises(ValueError, match=r"^stream: expected a stream of "):
        tl.stack(given, out=there, stream=torch.Stream(torch.device(NAME, 1)))
    with pytest.raises(TypeError, match=r"^non_blocking: "):
        tl.stack(given, out=there, non_blocking=1)
    assert int(there.cpu().count_nonzero()) == 0


def test_the_second_device(fake, tl):
    out = torch.zeros(2, 3, device=torch.device(NAME, 1))
    fake.set_device(0)
    assert tl.stack([np.ones(3, np.float32)] * 2, out=out) is out
    assert bool((out.cpu() == 1).all())
    assert fake.current_device() == 0


def test_autograd_sees_that_it_was_written_to(tl):
    out = zeros(1, 3)
    version = out._version
    tl.stack([np.ones(3, np.float32)], out=out)
    assert out._version > version


def test_a_warning_that_is_an_error_comes_before_writing(tl):
    out = zeros(1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="imaginary"):
            tl.stack([np.array([1 + 2j, 3], np.complex64)], out=out, dtype=torch.float32)
    assert int(out.cpu().count_nonzero()) == 0


def test_it_is_written_after_what_reads_it_and_before_what_comes_next(fake):
    out = zeros(4, 50, dtype=torch.int64)
    seen = []
    for step in range(8):
        tensorlift.stack([np.full(50, step)] * 4, out=out)
        kept = torch.empty_like(out)
        kept.copy_(out, non_blocking=True)  # waits on the consumer's stream
        seen.append(kept)
    assert fake.pending() > 0
    assert [int(kept.cpu()[3, 49]) for kept in seen] == list(range(8))


def test_what_another_stream_does_with_it_is_waited_for_through_the_given_one(fake):
    """As for Tensor.copy_(): who used it on a third stream lets the one that is named wait."""
    stream, third = torch.Stream(NAME), torch.Stream(NAME)
    out, kept = zeros(4, 50), zeros(4, 50)
    torch.accelerator.synchronize()
    fake.block_stream(None)  # the current stream is not concerned
    with third:
        out.fill_(7)
        kept.copy_(out, non_blocking=True)
    stream.wait_stream(third)
    tensorlift.stack([np.full(50, 3, np.float32)] * 4, out=out, stream=stream)
    with stream:
        assert bool((out.cpu() == 3).all())
    third.synchronize()
    assert fake.stats()["forbidden_wait"] == 0
    fake.unblock()
    assert bool((kept.cpu() == 7).all())


def test_an_empty_one_gets_memory_of_the_stream_that_it_is_ready_on(fake):
    """Not of the current one, which may have work left for what is in its pool."""
    stream = torch.Stream(NAME)
    freed = torch.empty(4096, dtype=torch.uint8, device=DEVICE)
    del freed
    out = torch.empty(0, dtype=torch.uint8, device=DEVICE)
    reused = fake.stats()["device_reuse"]
    tensorlift.stack([np.full(4096, 9, np.uint8)], out=out, stream=stream)
    assert fake.stats()["device_reuse"] == reused
    with stream:
        assert bool((out.cpu() == 9).all())


def test_one_packed_transfer_without_an_allocation(fake):
    given, out = arrays(1000, (25,)), zeros(1000, 25)
    tensorlift.stack(given, out=out)
    torch.accelerator.synchronize()
    fake.reset_stats()
    tensorlift.stack(given, out=out)
    stats = fake.stats()
    assert stats["h2d"] == 1
    assert stats["h2d_bytes"] == out.nbytes
    for name in ("device_alloc", "device_reuse", "pinned_alloc", "pinned_reuse", "d2d"):
        assert stats[name] == 0, name
    for name in ("h2d_pageable", "h2d_with_gil", "event_sync", "stream_sync", "device_sync"):
        assert stats[name] == 0, name
    tensorlift.stack(given, out=out, non_blocking=False)
    assert fake.stats()["event_sync"] == 1


def test_the_arrays_may_be_changed_after_the_call():
    given, out = arrays(), zeros(5, 3, 40)
    expected = tensorlift.stack(given)
    tensorlift.stack(given, out=out)
    for array in given:
        array[...] = 0
    assert torch.equal(out.cpu(), expected)


@needs_fake
@pytest.mark.parametrize("after", [0, 1, 2])
def test_after_an_error_the_stream_waits_for_what_was_enqueued(fake, after):
    tensorlift.set_staging(chunk_bytes=4 << 10, buffers=2)
    out = zeros(4, 1500)
    torch.accelerator.synchronize()
    fake.fail_copy(after)
    with pytest.raises(RuntimeError):
        tensorlift.stack([np.full(1500, 3, np.float32)] * 4, out=out)
    out.fill_(9)
    assert bool((out.cpu() == 9).all())


@needs_capture_check
def test_a_graph_capture_is_refused(fake):
    out = zeros(2, 3)
    fake.set_capturing(True)
    try:
        with pytest.raises(RuntimeError, match="graph capture in progress"):
            tensorlift.stack([np.ones(3, np.float32)] * 2, out=out)
    finally:
        fake.set_capturing(False)


class Joining(torch.Tensor):
    """One that torch's functions leave the joining to."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is torch.stack:
            return kwargs["out"]
        return super().__torch_function__(function, types, args, kwargs or {})


@needs_capture_check
def test_what_torch_joins_is_joined_in_a_capture_as_well(fake):
    """No transfer is due, so nothing that a capture forbids is asked of the device."""
    out = zeros(2, 3)
    fake.set_capturing(True)
    try:
        assert tensorlift.stack([torch.ones(3).as_subclass(Joining)] * 2, out=out) is out
    finally:
        fake.set_capturing(False)
