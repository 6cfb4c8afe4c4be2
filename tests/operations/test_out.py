"""out=: the caller's tensor is filled in place, or left alone."""

import contextlib
import threading
import time
import warnings

import numpy as np
import pytest
import torch

import tensorlift


def test_it_is_filled_and_returned(tl):
    arrays = [np.arange(6.0).reshape(2, 3) + i for i in range(4)]
    expected = tl.stack(arrays)
    out = torch.full((4, 2, 3), -1.0, dtype=torch.float64)
    assert tl.stack(arrays, out=out) is out
    assert torch.equal(out, expected)
    assert tl.cat(arrays, out=out.view(8, 3)).data_ptr() == out.data_ptr()
    batch = tl.pad(arrays, out=out).batch
    assert batch is out
    values, _ = tl.jagged(arrays, out=out.view(8, 3))
    assert torch.equal(values, expected.view(8, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.uint8])
def test_it_may_have_any_strides(tl, dtype):
    arrays = [np.arange(6.0).reshape(2, 3) + 10 * i for i in range(4)]
    expected = tl.stack(arrays, dtype=dtype)
    wide = torch.zeros(9, 5, 7, dtype=dtype)
    places = [
        wide[1::2, 1::2, ::3],
        wide.permute(2, 1, 0)[:4, :2, :3],
        torch.zeros(3, 4, 2, dtype=dtype).permute(1, 2, 0),
    ]
    for out in places:
        tl.stack(arrays, out=out, dtype=dtype)
        assert torch.equal(out, expected)
    assert wide[0, 4].sum() == 0  # not written to


def test_nothing_beside_it_is_touched(tl):
    frame = torch.full((6, 10), 7.0)
    tl.stack([np.zeros(4, np.float32)] * 3, out=frame[2:5, 3:7])
    assert (frame == 7).sum() == 60 - 12


def overlapping_cases():
    memory = np.arange(24.0)
    yield [memory[:12], memory[12:]], torch.from_numpy(memory).view(2, 12)  # itself
    memory = np.arange(24.0)
    yield [memory[12:], memory[:12]], torch.from_numpy(memory).view(2, 12)  # halves exchanged
    memory = np.arange(24.0)
    yield [memory[i : i + 8] for i in range(3)], torch.from_numpy(memory).view(3, 8)
    memory = np.arange(25.0)
    yield [memory[::-1][:12], memory[1:13]], torch.from_numpy(memory[1:]).view(2, 12)
    memory = np.arange(24.0)
    yield [memory.reshape(4, 6).T], torch.from_numpy(memory).view(1, 6, 4)


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("threads", [1, 2])
def test_sources_that_overlap_it_are_read_first(tl, number, threads):
    arrays, out = list(overlapping_cases())[number]
    expected = torch.stack([torch.from_numpy(a.copy()) for a in arrays])
    tl.stack(arrays, out=out, threads=threads)
    assert torch.equal(out, expected)


def test_large_sources_that_overlap_it(tl):
    memory = np.random.default_rng(0).random(1_000_000)
    arrays = [memory[1:500_001], memory[:500_000]]
    expected = torch.stack([torch.from_numpy(a.copy()) for a in arrays])
    out = torch.from_numpy(memory).view(2, 500_000)
    tl.stack(arrays, out=out)
    assert torch.equal(out, expected)


WRONG = {
    "shape": lambda: torch.full((3, 2), 5.0, dtype=torch.float64),
    "dtype": lambda: torch.full((2, 3), 5, dtype=torch.int32),
    "device": lambda: torch.zeros((2, 3), dtype=torch.float64, device="meta"),
    "expanded": lambda: torch.full((2, 1), 5.0, dtype=torch.float64).expand(2, 3),
    "overlapping": lambda: torch.full((9,), 5.0, dtype=torch.float64).as_strided((2, 3), (1, 1)),
    "gradient": lambda: torch.full((2, 3), 5.0, dtype=torch.float64, requires_grad=True),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_one_that_does_not_fit_is_refused(tl, wrong):
    out = WRONG[wrong]()
    with pytest.raises((ValueError, TypeError), match=r"^out: expected "):
        tl.stack([np.zeros(3), np.zeros(3)], out=out)
    if wrong != "device":
        assert (out == 5).all()


def test_the_result_is_cast_where_torch_casts_it(tl):
    out = torch.zeros(2, 3, dtype=torch.float16)
    tl.stack([np.full(3, 0.1), np.ones(3, np.uint8)], out=out)
    assert out.tolist() == torch.tensor([[0.1] * 3, [1] * 3], dtype=torch.float16).tolist()
    with pytest.raises(TypeError, match=r"^out: expected a dtype that torch\.float64"):
        tl.stack([np.zeros(3)], out=torch.zeros(1, 3, dtype=torch.int64))
    tl.stack([np.full(3, 2.5)], out=(whole := torch.zeros(1, 3).int()), dtype=torch.int32)
    assert whole.tolist() == [[2, 2, 2]]


def test_an_empty_one_is_resized(tl):
    arrays = [np.arange(6.0).reshape(2, 3) + i for i in range(4)]
    out = torch.empty(0, dtype=torch.float64)
    assert tl.stack(arrays, out=out) is out
    assert torch.equal(out, tl.stack(arrays))
    with pytest.raises((ValueError, TypeError)):
        tl.stack([*arrays, np.zeros(3)], out=(untouched := torch.empty(0, 7)))
    assert untouched.shape == (0, 7)
    with pytest.raises(RuntimeError, match="not resizable"):
        tl.stack(arrays, out=torch.from_numpy(np.empty(0)))


def test_what_is_no_tensor_is_refused(tl):
    with pytest.raises(TypeError, match=r"^out: expected a torch.Tensor"):
        tl.stack([np.zeros(3)], out=np.zeros((1, 3)))


def test_it_is_untouched_after_an_error(tl):
    out = torch.full((2, 3), 5.0, dtype=torch.float64)
    for bad in ("text", np.zeros(4), np.zeros(3, object), np.zeros((1, 3))):
        with pytest.raises((TypeError, ValueError), match=r"^arrays\[1\]: "):
            tl.stack([np.zeros(3), bad], out=out)
    with pytest.raises(ValueError, match=r"^(memory_format|pin_memory|pinned memory|out): "):
        tl.stack([np.zeros(3)] * 2, out=out, pin_memory=True)
    assert (out == 5).all()


def test_autograd_sees_that_it_was_written_to(tl):
    out = torch.ones(1, 3, dtype=torch.float64)
    leaf = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
    product = leaf * out
    tl.stack([np.zeros(3)], out=out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_without_gradients_a_leaf_may_be_written_to(tl):
    leaf = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        tl.stack([np.zeros(3)], out=leaf)
    assert (leaf == 0).all()


def test_inference_tensors(tl):
    with torch.inference_mode():
        out = torch.ones(1, 3, dtype=torch.float64)
        tl.stack([np.zeros(3)], out=out)
    assert (out == 0).all()


@pytest.mark.parametrize("first", [0, 1, 37])
def test_one_that_does_not_fit_into_the_caches(first):
    """Stores go past the caches there, line by line: both ends of each piece are in between."""
    memory = torch.full(((72 << 20) + 100,), 7, dtype=torch.uint8)
    arrays = [np.random.default_rng(0).integers(0, 255, (72 << 20) // 3).astype(np.uint8)] * 3
    out = memory[first:][: (72 << 20)].view(3, -1)
    tensorlift.stack(arrays, out=out)
    assert all(torch.equal(row, torch.from_numpy(arrays[0])) for row in out)
    assert (memory[:first] == 7).all()
    assert (memory[first + out.numel() :] == 7).all()


def test_a_warning_that_is_an_error_comes_before_writing(tl):
    out = torch.full((1, 2), 5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="imaginary"):
            tl.stack([np.array([1 + 2j, 3], np.complex64)], out=out, dtype=torch.float32)
    assert (out == 5).all()


def test_an_inference_tensor_outside_of_inference_mode(tl):
    with torch.inference_mode():
        out = torch.ones(1, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^out: "):
        tl.stack([np.zeros(3)], out=out)


@pytest.mark.parametrize("change", ["resize", "transpose", "set"])
def test_it_is_changed_while_it_is_written(change):
    """What was checked is written: another thread may give the tensor object another shape."""
    n = 1 << 24
    memory = torch.zeros(n + 1, dtype=torch.uint8)
    out = memory[1:].view(2, -1)
    sources = [memory[: n // 2], memory[n // 2 : n]]  # overlap: so that there are two passes

    def meddle():
        time.sleep(0.002)
        if change == "resize":
            out.resize_(4)
        elif change == "transpose":
            out.t_()
        else:
            out.set_(torch.zeros(5, dtype=torch.uint8))

    thread = threading.Thread(target=meddle)
    thread.start()
    with contextlib.suppress(ValueError):  # the change came first
        tensorlift.stack(sources, out=out, threads=1)
    thread.join()
