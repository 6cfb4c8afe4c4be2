"""DevicePrefetcher where there is no accelerator: it converts, so that code needs no branches."""

import numpy as np
import pytest
import torch

import tensorlift


def test_it_converts():
    batches = [{"x": np.full(2, i), "name": str(i)} for i in range(3)]
    loader = tensorlift.DevicePrefetcher(batches, "cpu")
    assert len(loader) == 3
    for _ in range(2):  # again for every epoch
        results = list(loader)
        assert [b["x"].tolist() for b in results] == [[0, 0], [1, 1], [2, 2]]
        assert [b["name"] for b in results] == ["0", "1", "2"]
    assert all(isinstance(b["x"], torch.Tensor) for b in loader)


def test_bad_arguments():
    with pytest.raises(ValueError, match="depth: expected at least 1, got 0"):
        tensorlift.DevicePrefetcher([], "cpu", depth=0)
    with pytest.raises(TypeError, match="depth: expected an int"):
        tensorlift.DevicePrefetcher([], "cpu", depth=1.5)
    with pytest.raises(ValueError, match="device: expected"):
        tensorlift.DevicePrefetcher([], "nonsense")
    with pytest.raises(TypeError, match="has no len"):
        len(tensorlift.DevicePrefetcher(iter([]), "cpu"))


def test_exceptions_come_in_their_place():
    def loader():
        yield np.ones(1)
        raise OSError("disk")

    batches = iter(tensorlift.DevicePrefetcher(loader(), "cpu"))
    assert next(batches).tolist() == [1]
    with pytest.raises(OSError, match="disk"):
        next(batches)


def test_read_only_arrays_are_copied():
    """As on a device, where they are all; without a warning."""
    array = np.zeros(3)
    array.flags.writeable = False
    (tensor,) = tensorlift.DevicePrefetcher([array], "cpu")
    tensor += 1
    assert array.sum() == 0
