"""to_numpy of tensors on a device: small ones are fetched together, and are what `.cpu()` gives."""

import ml_dtypes
import numpy as np
import pytest
import torch

import tensorlift
from support.device_fixtures import NAME, needs_fake


def some_tensors():
    values = torch.arange(24).reshape(4, 6)
    return [
        values.to(torch.float32),
        values.to(torch.int16)[:, ::2],
        values.to(torch.float64).T,
        values.to(torch.bfloat16),
        values.to(torch.complex64),
        values[:0],
        torch.tensor(True),
        torch.ones(600_000),  # large
    ]


def test_as_on_the_host():
    on_host = some_tensors()
    arrays = tensorlift.to_numpy([tensor.to(NAME) for tensor in on_host])
    for array, tensor in zip(arrays, on_host, strict=True):
        (expected,) = tensorlift.to_numpy([tensor])
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)
    assert arrays[3].dtype == ml_dtypes.bfloat16


def test_a_list_of_both():
    first, second = torch.zeros(3), torch.ones(3)
    arrays = tensorlift.to_numpy([first, second.to(NAME)])
    first[0] = 5
    assert arrays[0].tolist() == [5, 0, 0]
    assert arrays[1].tolist() == [1, 1, 1]


@needs_fake
def test_small_ones_are_fetched_by_one_copy(fake):
    tensors = [torch.full((10,), i, device=NAME) for i in range(50)]
    fake.reset_stats()
    arrays = tensorlift.to_numpy(tensors)
    assert fake.stats()["d2h"] == 1
    assert [array[0] for array in arrays] == list(range(50))
    assert all(array.base.untyped_storage().nbytes() < 1000 for array in arrays)


def test_errors_name_the_tensor():
    tensor = torch.ones(2, device=NAME)
    with pytest.raises(ValueError, match=r"tensors\[1\]: expected a tensor on the CPU with copy="):
        tensorlift.to_numpy([torch.ones(1), tensor], copy=False)
    with pytest.raises(RuntimeError, match=r"tensors\[0\]: .* requires grad. Use tensor.detach"):
        tensorlift.to_numpy([tensor.requires_grad_()])
