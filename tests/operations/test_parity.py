"""Native and reference agree on everything that can be seen, for lists that hypothesis makes up."""

import os
import warnings

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tensorlift
from support.amount import examples
from support.inputs import same_bits
from support.strategies import TARGETS, arrays
from tensorlift import reference

IS_SANITIZED = "TENSORLIFT_TEST_SANITIZED" in os.environ

items = st.one_of(
    arrays(), arrays(), arrays(), st.sampled_from([np.float32(2), np.int8(-1), "text", None, 3.0])
)
options = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from([None, *TARGETS]),
        "copy": st.sampled_from([None, True, False]),
        "readonly": st.sampled_from(["warn", "share", "copy", "error"]),
        "threads": st.sampled_from([None, 1, 3]),
    },
)


def outcome(implementation, data, kwargs):
    """Tensors or an error's type and index, and the warnings' beginnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", message="ComplexHalf support")  # torch's, once a process
        try:
            result = implementation.from_numpy(data, **kwargs)
        except (TypeError, ValueError) as error:
            result = (type(error), str(error).split(":")[0])
    return result, [(w.category, str(w.message)[:60]) for w in caught]


def is_nan_as_integer(array, tensor):
    """Which is whatever a loop makes of it, and sanitized loops are others."""
    return not tensor.is_floating_point() and bool(np.isnan(array).any())


@settings(max_examples=examples(1500), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(items, max_size=4), options)
def test_from_numpy(data, kwargs):
    ours, our_warnings = outcome(tensorlift, data, kwargs)
    theirs, their_warnings = outcome(reference, data, kwargs)
    assert our_warnings == their_warnings
    if not isinstance(ours, list) or not isinstance(theirs, list):
        assert ours == theirs
        return
    for array, a, b in zip(data, ours, theirs, strict=True):
        assert same_bits(a, b) or (IS_SANITIZED and is_nan_as_integer(array, a))
        assert a.stride() == b.stride()
        assert a.untyped_storage().nbytes() == b.untyped_storage().nbytes()
        assert a.untyped_storage().resizable() == b.untyped_storage().resizable()
        address = array.__array_interface__["data"][0]
        if array.size:
            assert (a.data_ptr() == address) == (b.data_ptr() == address)


@settings(max_examples=examples(700), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(items, max_size=4), options)
def test_explain(data, kwargs):
    kwargs.pop("threads", None)
    ours = tensorlift.explain(data, **kwargs)
    assert list(ours) == list(reference.explain(data, **kwargs))
    result, _ = outcome(tensorlift, data, kwargs)
    if isinstance(result, list):
        assert ours.rejected == 0
        for entry, array, tensor in zip(ours, data, result, strict=True):
            shares = tensor.data_ptr() == array.__array_interface__["data"][0]
            assert entry.dtype_out == tensor.dtype
            assert array.size == 0 or shares == (entry.action == "shared")
            assert entry.nbytes == tensor.untyped_storage().nbytes()
    else:
        first = next(entry for entry in ours if entry.action == "rejected")
        assert result[1] == f"arrays[{first.index}]"


@settings(max_examples=examples(400), deadline=None, suppress_health_check=list(HealthCheck))
@given(arrays())
def test_where_torch_succeeds_ours_is_the_same(array):
    if isinstance(array, np.ma.MaskedArray):
        return  # torch drops the mask
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = torch.from_numpy(array)
        except (TypeError, ValueError):
            return
        (tensor,) = tensorlift.from_numpy([array])
    if array.size and expected.data_ptr() % array.itemsize:
        assert tensor.data_ptr() != expected.data_ptr()  # torch may crash on such memory
        return
    assert same_bits(tensor, expected)
    assert tensor.stride() == expected.stride()
    assert tensor.untyped_storage().nbytes() == expected.untyped_storage().nbytes()
    assert tensor.data_ptr() == expected.data_ptr()
