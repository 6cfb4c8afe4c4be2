"""Sharing: same memory, dtype, shape and strides as torch.from_numpy."""

import numpy as np
import pytest
import torch

from support.inputs import read_only

NATIVE_DTYPES = [
    *("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"),
    *("l", "q", "i", "h"),
]
LAYOUTS = {
    "contiguous": lambda a: a,
    "fortran": np.asfortranarray,
    "transposed": lambda a: a.T,
    "sliced": lambda a: a[1:, ::2],
    "column": lambda a: a[:, 1],
    "broadcast": lambda a: np.broadcast_to(a[:1], (3, *a.shape)),
    "empty": lambda a: a[:0],
    "empty inside": lambda a: a[:, :0],
    "0-d": lambda a: a[0, 0, ...],
    "size-1 with a far stride": lambda a: a[:1],
    "new axes": lambda a: a[None, :, None],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", NATIVE_DTYPES)
def test_is_what_torch_gives(tl, dtype, layout):
    array = LAYOUTS[layout](np.arange(24).reshape(4, 6).astype(dtype))
    (tensor,) = tl.from_numpy([array], readonly="share")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.showwarning", lambda *_, **__: None)
        expected = torch.from_numpy(array if array.flags.writeable else array.copy())
    assert tensor.dtype == expected.dtype
    assert tensor.shape == expected.shape
    if array.flags.writeable:
        assert tensor.stride() == expected.stride()
        assert tensor.untyped_storage().nbytes() == expected.untyped_storage().nbytes()
        assert tensor.untyped_storage().resizable() == expected.untyped_storage().resizable()
    if array.size:
        assert tensor.data_ptr() == array.__array_interface__["data"][0]
    assert torch.equal(tensor, expected)


def test_a_write_on_either_side_is_seen_on_the_other(tl):
    array = np.zeros((4, 6), np.float32)
    (tensor,) = tl.from_numpy([array[1:, ::2]])
    array[1, 2] = 5
    assert tensor[0, 1] == 5
    tensor[2, 0] = 7
    assert array[3, 0] == 7


def test_keeps_order_and_takes_any_iterable(tl):
    arrays = [np.full(3, i) for i in range(5)]
    objects = np.empty(5, object)
    objects[:] = arrays
    for form in (
        list,
        tuple,
        iter,
        lambda a: (x for x in a),
        lambda a: dict(enumerate(a)).values(),
    ):
        tensors = tl.from_numpy(form(arrays))
        assert type(tensors) is list
        assert [int(t[0]) for t in tensors] == [0, 1, 2, 3, 4]
    assert [int(t[0]) for t in tl.from_numpy(list(objects))] == [0, 1, 2, 3, 4]


def test_takes_old_style_sequences_and_list_subclasses(tl):
    class Sequence:
        def __getitem__(self, index):
            return [np.zeros(2), np.ones(2)][index]

    class Doubling(list):
        def __iter__(self):
            return iter([a * 2 for a in list.__iter__(self)])

    assert [float(t[0]) for t in tl.from_numpy(Sequence())] == [0, 1]
    assert [float(t[0]) for t in tl.from_numpy(Doubling([np.ones(1)]))] == [2]


def test_empty_list(tl):
    assert tl.from_numpy([]) == []
    assert tl.from_numpy(iter(())) == []


def test_the_same_array_twice_shares_twice(tl):
    array = np.zeros(3)
    a, b = tl.from_numpy([array, array])
    a[0] = 1
    assert b[0] == 1


@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (1, 1), (0, 4), (4, 0), (1, 0, 3)])
@pytest.mark.parametrize("stride", [-8, 3, -3, -800, 0])
def test_strides_that_mean_nothing_force_no_copy(tl, shape, stride):
    base = np.arange(16.0)
    meaningful = [8 * max(shape[-1], 1) if d < len(shape) - 1 else 8 for d in range(len(shape))]
    strides = [
        stride if size <= 1 or 0 in shape else s for size, s in zip(shape, meaningful, strict=True)
    ]
    array = np.lib.stride_tricks.as_strided(base, shape, strides)
    (tensor,) = tl.from_numpy([array], copy=False)
    assert tensor.shape == shape
    assert all(s >= 0 for s in tensor.stride())
    assert np.array_equal(tensor.numpy(), array)
    if array.size:
        base[0] = 77
        assert tensor.flatten()[0] == 77


def test_reversed_size_1_dimension_is_contiguous(tl):
    (tensor,) = tl.from_numpy([np.ascontiguousarray(np.zeros((1, 5, 3))[::-1, :, :])], copy=False)
    assert tensor.is_contiguous()


def test_64_dimensions(tl):
    most = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32
    (tensor,) = tl.from_numpy([np.zeros((1,) * most)])
    assert tensor.dim() == most


def test_subclasses_are_read_as_the_arrays_that_they_are(tl, tmp_path):
    class Loud(np.ndarray):
        def __array_finalize__(self, obj):
            pass

        @property
        def shape(self):
            raise RuntimeError("do not ask")

        def __len__(self):
            raise RuntimeError("do not ask")

    path = tmp_path / "data.bin"
    np.arange(6.0).tofile(path)
    base = np.arange(6.0)
    loud = base.view(Loud)
    arrays = [np.arange(2.0).view(np.recarray), np.memmap(path, np.float64, "r+"), loud]
    tensors = tl.from_numpy(arrays, copy=False)
    assert [tuple(t.shape) for t in tensors] == [(2,), (6,), (6,)]
    base[0] = 9
    assert tensors[2][0] == 9


@pytest.mark.parametrize("stride", [2**63 - 1, -(2**63), 2**62])
def test_strides_that_leave_64_bits_are_refused(tl, stride):
    array = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (3,), (stride,))
    for options in ({}, {"copy": True}, {"dtype": torch.float32}):
        with pytest.raises(ValueError, match=r"^arrays\[0\]: expected"):
            tl.from_numpy([array], **options)


def test_a_masked_array_without_masked_values_is_an_array(tl):
    data = np.arange(3.0)
    for array in (np.ma.masked_array(data), np.ma.masked_array(data, [False] * 3)):
        (tensor,) = tl.from_numpy([array], copy=False)
        assert tensor.tolist() == [0, 1, 2]


def test_the_result_is_an_ordinary_tensor(tl):
    (tensor,) = tl.from_numpy([np.ones(4, np.float32)])
    assert type(tensor) is torch.Tensor
    assert not tensor.requires_grad
    assert tensor.is_leaf
    tensor.requires_grad_()
    (tensor * 2).sum().backward()
    assert tensor.grad.tolist() == [2, 2, 2, 2]
    assert tensor._version == 0
    with torch.inference_mode():
        (inference,) = tl.from_numpy([np.ones(1)])
    assert (
        inference.is_inference()
        == torch.inference_mode()(torch.from_numpy)(np.ones(1)).is_inference()
    )


def test_shared_storage_cannot_be_resized(tl):
    (tensor,) = tl.from_numpy([np.zeros(2)])
    with pytest.raises(RuntimeError, match="resiz"):
        tensor.resize_(100)


def test_tensors_can_be_saved_and_copied(tl, tmp_path):
    import copy

    tensors = tl.from_numpy([np.arange(3), np.arange(4)[::-1]])
    assert [t.tolist() for t in copy.deepcopy(tensors)] == [[0, 1, 2], [3, 2, 1, 0]]
    torch.save(tensors, tmp_path / "t.pt")
    assert [t.tolist() for t in torch.load(tmp_path / "t.pt")] == [[0, 1, 2], [3, 2, 1, 0]]
    for tensor in tensors:
        tensor.share_memory_()
    assert [t.tolist() for t in tensors] == [[0, 1, 2], [3, 2, 1, 0]]


@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_seed_examples(tl, dtype):
    assert [t.tolist() for t in tl.from_numpy([np.array([1, 2, 3]), np.array([4, 5, 6])])] == [
        [1, 2, 3],
        [4, 5, 6],
    ]
    ints = [np.array([1, 2], np.int32), np.array([3], np.int32)]
    floats = tl.from_numpy(ints, dtype=torch.float32)
    assert [t.dtype for t in floats] == [torch.float32] * 2
    assert [t.tolist() for t in floats] == [[1.0, 2.0], [3.0]]
    matrices = [np.eye(2), np.ones((2, 3))]
    assert [tuple(t.shape) for t in tl.from_numpy(matrices, dtype=dtype)] == [(2, 2), (2, 3)]


def test_read_only_is_told_from_writeable(tl):
    array = np.zeros(3)
    with pytest.warns(UserWarning, match="^The given NumPy array is not writable"):
        (tensor,) = tl.from_numpy([read_only(array)])
    array[0] = 4
    assert tensor[0] == 4
