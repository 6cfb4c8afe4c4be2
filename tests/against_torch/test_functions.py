"""A user's functions for types are called for what torch calls them for, wherever they stand."""

import contextlib

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate
from torch.utils.data._utils import collate as torch_collate

import tensorlift
from against_torch.outcome import outcome

DEFAULTS = dict(torch_collate.default_collate_fn_map)


def halved(batch, *, collate_fn_map=None):
    return torch.stack(batch).half()


def listed(batch, *, collate_fn_map=None):
    return [torch.as_tensor(value) for value in batch]


def counted(batch, *, collate_fn_map=None):
    return len(batch), collate_fn_map is not None


FUNCTIONS = [
    {torch.Tensor: halved},
    {torch.Tensor: listed},
    {np.ndarray: counted},
    {(np.ndarray, torch.Tensor): counted},
    {float: counted, (np.bool_, np.number, np.object_): counted},
    {object: counted},
    {dict: counted},
    {str: counted},
]
BATCHES = [
    [np.zeros(2), np.ones(2)],
    [np.zeros(2), np.ones(3)],
    [torch.zeros(2), torch.ones(2)],
    [torch.zeros(2), torch.ones(3)],
    [1, 2],
    [1.5, 2.5],
    [np.float32(1), np.float32(2)],
    ["a", "b"],
    [{"x": np.zeros(2), "y": "a"}, {"x": np.ones(2), "y": "b"}],
    [(np.zeros(2), 1), (np.ones(2), 2)],
]


@contextlib.contextmanager
def in_the_default_map(functions):
    defaults = torch_collate.default_collate_fn_map
    before = dict(defaults)  # other packages add theirs when they are imported
    defaults.update(functions)
    try:
        yield
    finally:
        defaults.clear()
        defaults.update(before)


def installed(batch):
    with tensorlift.install():
        return default_collate(batch)


@pytest.mark.parametrize("functions", FUNCTIONS)
@pytest.mark.parametrize("batch", BATCHES)
def test_in_the_default_map(functions, batch):
    with in_the_default_map(functions):
        theirs = outcome(default_collate, batch)
        assert outcome(installed, batch)[:3] == theirs[:3]
        ours = outcome(tensorlift.collate, batch)
    assert ours.result == theirs.result
    assert ours.error is theirs.error or issubclass(ours.error, theirs.error)


@pytest.mark.parametrize("functions", FUNCTIONS)
@pytest.mark.parametrize("batch", BATCHES)
def test_as_an_argument(functions, batch):
    others = {key: value for key, value in DEFAULTS.items() if key not in functions}
    theirs = outcome(lambda: torch_collate.collate(batch, collate_fn_map={**functions, **others}))
    ours = outcome(lambda: tensorlift.collate(batch, collate_fn_map=functions))
    assert ours.result == theirs.result
    assert ours.error is theirs.error or issubclass(ours.error, theirs.error)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("fn_map", [None, {}, {torch.Tensor: halved}])
def test_with_torchs_collate_while_installed(batch, fn_map):
    theirs = outcome(lambda: torch_collate.collate(batch, collate_fn_map=fn_map))
    with tensorlift.install():
        ours = outcome(lambda: torch_collate.collate(batch, collate_fn_map=fn_map))
    assert ours.result == theirs.result
    assert ours.error is theirs.error or issubclass(ours.error, theirs.error)
