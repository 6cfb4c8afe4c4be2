"""to_numpy gives what Tensor.numpy() gives, for a list."""

import ml_dtypes
import numpy as np
import pytest
import torch

import tensorlift

DTYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32),
    *(torch.int64, torch.uint64, torch.float16, torch.float32, torch.float64, torch.complex64),
    torch.complex128,
]
LAYOUTS = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.T,
    "sliced": lambda t: t[:, 1::2],
    "expanded": lambda t: t[:1].expand(3, -1),
    "no elements": lambda t: t[:0],
    "0-d": lambda t: t[0, 0],
    "of a subclass": torch.nn.Buffer,
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LAYOUTS)
def test_as_numpy_does(dtype, name):
    tensor = LAYOUTS[name](torch.arange(12).reshape(3, 4).to(dtype))
    (ours,), theirs = tensorlift.to_numpy([tensor]), tensor.numpy()
    assert type(ours) is np.ndarray
    assert (ours.dtype, ours.shape, ours.strides) == (theirs.dtype, theirs.shape, theirs.strides)
    assert ours.flags == theirs.flags
    assert np.array_equal(ours, theirs)
    (theirs,) = tensorlift.reference.to_numpy([tensor])
    assert (theirs.strides, theirs.flags) == (ours.strides, ours.flags)


def test_memory_is_shared_and_kept_alive():
    tensor = torch.zeros(1000)
    (array,) = tensorlift.to_numpy([tensor])
    tensor[3] = 5
    assert array[3] == 5
    array[4] = 6
    assert tensor[4] == 6
    with pytest.raises(RuntimeError, match="resize"):
        tensor.resize_(2000)
    del tensor
    assert array[3:5].tolist() == [5, 6]


def test_references(steady_references):
    tensors = [torch.zeros(2), torch.ones(3)]
    for tensor in tensors:
        steady_references(tensor)
    arrays = tensorlift.to_numpy(tensors)
    assert arrays[0].base is tensors[0]
    for _ in range(3):
        with pytest.raises(TypeError):
            tensorlift.to_numpy([*tensors, 5])


def test_copy():
    tensor = torch.zeros(2, 3).T
    (array,) = tensorlift.to_numpy([tensor], copy=True)
    tensor[0, 0] = 1
    assert array[0, 0] == 0
    assert array.base is None
    assert tensorlift.to_numpy([tensor], copy=False)[0][0, 0] == 1
    with pytest.raises(TypeError, match="copy: expected True or False, got 1"):
        tensorlift.to_numpy([tensor], copy=1)


def test_dtypes_of_ml_dtypes():
    bfloat16 = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    (array,) = tensorlift.to_numpy([bfloat16])
    assert array.dtype == ml_dtypes.bfloat16
    assert array.tolist() == [1.5, -2.0]
    assert np.array_equal(array, tensorlift.reference.to_numpy([bfloat16])[0])
    assert tensorlift.from_numpy([array])[0].tolist() == [1.5, -2.0]


def test_iterables():
    assert tensorlift.to_numpy([]) == []
    assert len(tensorlift.to_numpy(torch.ones(1) for _ in range(3))) == 3
    assert len(tensorlift.to_numpy((torch.ones(1),))) == 1


@pytest.mark.parametrize(
    ("tensors", "error", "message"),
    [
        (
            torch.ones(2),
            TypeError,
            r"tensors: expected a list of tensors, got Tensor. Pass \[tensor",
        ),
        ({"a": torch.ones(2)}, TypeError, "got dict"),
        ([torch.ones(1), None], TypeError, r"tensors\[1\]: expected a torch.Tensor, got NoneType"),
        ([torch.ones(1, requires_grad=True)], RuntimeError, "requires grad. Use tensor.detach()"),
        ([torch.ones(1, dtype=torch.complex64).conj()], RuntimeError, "resolve_conj"),
        ([torch.ones(2, 2).to_sparse()], TypeError, r"tensors\[0\]: .* Use tensor.to_dense"),
        ([torch.ones(1, device="meta")], TypeError, "with elements, got meta"),
        ([torch.empty(2, dtype=torch.float4_e2m1fn_x2)], TypeError, "a dtype that NumPy has as"),
    ],
)
def test_errors_name_the_tensor(tensors, error, message):
    with pytest.raises(error, match=message):
        tensorlift.to_numpy(tensors)


def test_remedies_help():
    grad = torch.ones(1, requires_grad=True)
    conj = torch.tensor([1j]).conj()
    sparse = torch.ones(2, 2).to_sparse()
    arrays = tensorlift.to_numpy(
        [grad.detach(), conj.resolve_conj().resolve_neg(), sparse.to_dense()]
    )
    assert [a.sum() for a in arrays] == [1, -1j, 4]
