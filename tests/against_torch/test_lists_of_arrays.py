"""from_numpy, stack, cat, pad and jagged of arrays are what torch's functions make of them."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tensorlift
from against_torch.outcome import outcome
from support.amount import examples
from support.inputs import same_bits
from support.strategies import CHANGES, arrays, shapes

# Those that torch has, for the most part.
DTYPES = ["?", "i1", "i4", "i8", "u1", "f2", "f4", "f8", "c8"]
NOT_TORCHS = {"reverse", "reverse last", "swapped", "misaligned", "odd strides", "masked, first"}
KNOWN = {name: change for name, change in CHANGES.items() if name not in NOT_TORCHS}
known_arrays = arrays(dtypes=[*DTYPES, "u2", "c16"], changes=KNOWN)

any_arrays = settings(
    max_examples=examples(1200), deadline=None, suppress_health_check=list(HealthCheck)
)


def torchs_tensor(array):
    """None where torch has none; it may crash on memory that is misaligned."""
    if not array.flags.aligned and array.dtype.itemsize > 1:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.from_numpy(array)
        except (TypeError, ValueError, RuntimeError):
            return None


def is_masked(array):
    return np.ma.is_masked(array)


@any_arrays
@given(st.lists(known_arrays, max_size=4))
def test_from_numpy_shares_what_torch_shares(items):
    items = [item for item in items if isinstance(item, np.ndarray)]
    expected = [torchs_tensor(item) for item in items]
    if any(tensor is None for tensor in expected) or any(map(is_masked, items)):
        return
    said = outcome(lambda: [torch.from_numpy(item) for item in items])
    ours = outcome(lambda: tensorlift.from_numpy(items))
    assert ours.warned == said.warned
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensors = tensorlift.from_numpy(items)
    for tensor, other in zip(tensors, expected, strict=True):
        assert same_bits(tensor, other)
        assert tensor.stride() == other.stride()
        assert tensor.untyped_storage().nbytes() == other.untyped_storage().nbytes()
        assert tensor.data_ptr() == other.data_ptr()
        assert tensor.untyped_storage().resizable() == other.untyped_storage().resizable()


@any_arrays
@given(st.lists(known_arrays, min_size=1, max_size=4), st.integers(-3, 3))
def test_stack_and_cat_give_what_torch_gives(items, dim):
    expected = [torchs_tensor(item) for item in items]
    if any(tensor is None for tensor in expected) or any(map(is_masked, items)):
        return
    for name in ("stack", "cat"):
        theirs = outcome(getattr(torch, name), expected, dim)
        ours = outcome(getattr(tensorlift, name), items, dim)
        assert ours.result == theirs.result
        if theirs.error is not None:
            assert issubclass(ours.error, theirs.error)


@settings(max_examples=examples(400), deadline=None)
@given(
    st.sampled_from(DTYPES),
    shapes.filter(lambda shape: len(shape) < 3),
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
    st.sampled_from([0, 1, -1, 2.5, float("inf")]),
)
def test_pad_and_jagged_give_what_torch_gives(dtype, inner, lengths, value):
    items = [np.ones((length, *inner)).astype(dtype) * (i + 1) for i, length in enumerate(lengths)]
    items = [item.astype(dtype) for item in items]
    tensors = [torch.from_numpy(item) for item in items]

    def pad_sequence():
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)

    theirs = outcome(pad_sequence)
    ours = outcome(lambda: tensorlift.pad(items, padding_value=value)[0])
    assert ours.result == theirs.result
    if theirs.error is not None:
        assert issubclass(ours.error, theirs.error)
    nested = torch.nested.nested_tensor(tensors, layout=torch.jagged)
    joined = tensorlift.jagged(items).to_nested()
    assert same_bits(joined.values(), nested.values())
    assert torch.equal(joined.offsets(), nested.offsets())
    assert joined.values().stride() == nested.values().stride()
    assert joined._get_max_seqlen() == nested._get_max_seqlen()
    assert joined._get_min_seqlen() == nested._get_min_seqlen()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_shared_tensor_is_written_on_either_side(dtype):
    array = np.zeros((2, 3), dtype).T
    (tensor,) = tensorlift.from_numpy([array])
    other = torch.from_numpy(array)
    tensor[1, 1] = 1
    array[2, 0] = 1
    assert torch.equal(tensor, other)
    assert array[1, 1] == 1
