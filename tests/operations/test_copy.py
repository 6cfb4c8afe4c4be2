"""Copies: when they are made, what they look like, and that nothing else is."""

import numpy as np
import pytest
import torch

from support.inputs import misaligned, odd_strides

VALUES = np.arange(1, 25).reshape(4, 6)
COPIED = {
    "negative stride": lambda a: a[::-1],
    "both negative": lambda a: a[::-1, ::-1],
    "negative columns": lambda a: a[:, ::-2],
    "odd strides": odd_strides,
    "odd strides, transposed": lambda a: odd_strides(a).T,
    "byte order": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "byte order, sliced": lambda a: a.astype(a.dtype.newbyteorder(">"))[:, 1::2],
    "misaligned": misaligned,
    "misaligned, transposed": lambda a: misaligned(a).T,
    "swapped, misaligned, negative": lambda a: misaligned(a.astype(a.dtype.newbyteorder(">")))[
        ::-1
    ],
}
WIDE_DTYPES = ["i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]


@pytest.mark.parametrize("layout", COPIED)
@pytest.mark.parametrize("dtype", WIDE_DTYPES)
def test_a_layout_that_torch_cannot_express_is_copied(tl, dtype, layout):
    array = COPIED[layout](VALUES.astype(dtype))
    if np.dtype(dtype).kind == "c":
        array += array.dtype.type(1j)
    (tensor,) = tl.from_numpy([array])
    assert tensor.is_contiguous()
    assert tensor.dtype == torch.from_numpy(np.zeros(1, dtype)).dtype
    assert np.array_equal(tensor.numpy(), array)
    before = tensor.clone()
    array[...] = 0
    assert torch.equal(tensor, before)


@pytest.mark.parametrize("layout", COPIED)
def test_copy_false_refuses_it_by_index(tl, layout):
    arrays = [np.zeros(3), np.ones(2), COPIED[layout](VALUES.astype("f8"))]
    with pytest.raises(ValueError, match=r"^arrays\[2\]: expected "):
        tl.from_numpy(arrays, copy=False)


def test_complex_numbers_are_aligned_as_torch_wants_them(tl):
    """NumPy aligns complex128 to 8 bytes, torch's kernels to 16; torch crashes on the former."""
    raw = np.zeros(64, np.uint8)
    offset = -raw.__array_interface__["data"][0] % 16
    for dtype, step in ((np.complex128, 8), (np.complex64, 4)):
        array = raw[offset + step :][:32].view(dtype)
        assert array.flags.aligned
        (entry,) = tl.explain([array])
        assert entry.reason == "misaligned data"
        assert tl.from_numpy([array])[0][:1].clone().item() == 0
        (entry,) = tl.explain([raw[offset:][:32].view(dtype)])
        assert entry.action == "shared"


def test_copy_true_always_copies(tl):
    array = np.arange(6).reshape(2, 3).T
    (tensor,) = tl.from_numpy([array], copy=True)
    assert tensor.is_contiguous()
    assert np.array_equal(tensor.numpy(), array)
    array[...] = 0
    assert tensor.sum() == 15


def test_copies_have_memory_of_their_own(tl):
    tensors = tl.from_numpy([np.arange(4)[::-1], np.arange(5)[::-1]])
    assert [t.untyped_storage().nbytes() for t in tensors] == [32, 40]
    tensors[0].resize_(100)
    assert tensors[1].tolist() == [4, 3, 2, 1, 0]


def test_one_byte_dtypes_have_no_byte_order(tl):
    (tensor,) = tl.from_numpy([np.zeros(3, ">u1")], copy=False)
    assert tensor.dtype == torch.uint8


def test_empty_and_0d_arrays_of_every_layout(tl):
    arrays = [
        np.zeros((0, 3), ">f4"),
        np.array(5, ">i8"),
        np.zeros((3, 0))[::-1],
        misaligned(np.zeros((0,), "f8")),
        misaligned(np.array(2.5)),
    ]
    tensors = tl.from_numpy(arrays)
    assert [tuple(t.shape) for t in tensors] == [(0, 3), (), (3, 0), (0,), ()]
    assert tensors[1] == 5
    assert tensors[4] == 2.5


def test_numpy_scalars_are_0d_copies(tl):
    scalars = [np.float32(1.5), np.int64(-3), np.bool_(True), np.complex64(1 + 2j), np.uint8(7)]
    tensors = tl.from_numpy(scalars)
    assert [t.item() for t in tensors] == [1.5, -3, True, 1 + 2j, 7]
    assert [t.dim() for t in tensors] == [0] * 5
    assert [t.dtype for t in tl.from_numpy(scalars, dtype=torch.bool)] == [torch.bool] * 5
    with pytest.raises(ValueError, match=r"^arrays\[0\]: .*"):
        tl.from_numpy(scalars, copy=False)


@pytest.mark.parametrize("threads", [None, 1, 2, 7])
def test_large_copies_are_cut_anywhere(tl, threads):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 99, size=n) for n in (3, 100_000, 1, 40_000, 0, 65_537)]
    arrays += [rng.integers(0, 9, size=(300, 7, 50))[:, ::-1], rng.random((513, 257)).T[::-1]]
    for dtype in (None, torch.float32, torch.uint8):
        tensors = tl.from_numpy(arrays, dtype=dtype, copy=True, threads=threads)
        for array, tensor in zip(arrays, tensors, strict=True):
            expected = torch.from_numpy(np.ascontiguousarray(array).copy())
            assert torch.equal(tensor, expected if dtype is None else expected.to(dtype))


def test_many_tiny_copies_with_many_threads(tl):
    arrays = [np.arange(i % 7)[::-1] for i in range(40_000)]
    tensors = tl.from_numpy(arrays, threads=4)
    assert all(t.numel() == i % 7 for i, t in enumerate(tensors))
    assert all(t.tolist() == a.tolist() for t, a in zip(tensors[::997], arrays[::997], strict=True))
