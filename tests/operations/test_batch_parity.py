"""stack, cat, pad and jagged: native and reference agree, for lists that hypothesis makes up."""

import warnings

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tensorlift
from support.amount import examples
from support.batches import (
    OPTIONS,
    lists,
    options_for,
)
from support.inputs import same_bits
from tensorlift import reference

calls = st.sampled_from(sorted(OPTIONS)).flatmap(
    lambda name: st.tuples(st.just(name), options_for(name))
)


def outcome(function, data, kwargs):
    """Tensors or an error's type and the array it names, and the warnings' beginnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", message="ComplexHalf support")  # torch's, once a process
        try:
            result = function(data, **kwargs)
        except (TypeError, ValueError, IndexError) as error:
            kind = next(k for k in (TypeError, ValueError, IndexError) if isinstance(error, k))
            result = (kind, str(error).split(":")[0])
    if isinstance(result, torch.Tensor):
        result = [result]
    return result, [(w.category, str(w.message)[:60]) for w in caught]


EITHER_FIRST = {
    "dim",
    "padding_value",
    "padding_side",
    "pad_to_multiple_of",
    "max_length",
    "truncate",
    "mask_dim",
    "memory_format",
    "dtype",
    "mean",
    "std",
}


def is_error(result):
    return isinstance(result[0], type)


def assert_same(ours, theirs):
    assert is_error(ours) == is_error(theirs), (ours, theirs)
    if is_error(ours):
        # With two things wrong the two may find another one first.
        assert ours[0] == theirs[0] or {ours[1], theirs[1]} & EITHER_FIRST
        return
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is None:
            continue  # no mask
        assert same_bits(a, b)
        assert a.stride() == b.stride()
        assert a.untyped_storage().nbytes() == b.untyped_storage().nbytes()


@settings(max_examples=examples(2500), deadline=None, suppress_health_check=list(HealthCheck))
@given(lists(), calls)
def test_batches(data, call):
    name, kwargs = call
    ours, our_warnings = outcome(getattr(tensorlift, name), data, kwargs)
    theirs, their_warnings = outcome(getattr(reference, name), data, kwargs)
    assert_same(ours, theirs)
    assert our_warnings == their_warnings


def empty_out(like, layout):
    """A tensor to write to, with strides of its own."""
    fresh = torch.full_like(like, 77) if not like.is_complex() else torch.zeros_like(like)
    if layout == "contiguous" or like.dim() == 0:
        return fresh.contiguous()
    if layout == "transposed":
        turned = fresh.permute(*reversed(range(like.dim()))).contiguous()
        return turned.permute(*reversed(range(like.dim())))
    wide = torch.zeros([2 * n + 1 for n in like.shape], dtype=like.dtype)
    return wide[tuple(slice(1, None, 2) for _ in like.shape)]


@settings(max_examples=examples(1200), deadline=None, suppress_health_check=list(HealthCheck))
@given(lists(), calls, st.sampled_from(["contiguous", "transposed", "sliced"]))
def test_out(data, call, layout):
    name, kwargs = call
    kwargs.pop("memory_format", None)
    expected, _ = outcome(getattr(reference, name), data, kwargs)
    if is_error(expected):
        return
    out = empty_out(expected[0], layout)
    strides = out.stride()
    result, _ = outcome(getattr(tensorlift, name), data, {**kwargs, "out": out})
    assert not is_error(result)
    assert result[0] is out
    assert out.stride() == strides
    assert same_bits(out, expected[0])


@settings(max_examples=examples(800), deadline=None, suppress_health_check=list(HealthCheck))
@given(lists(), calls)
def test_explain(data, call):
    name, kwargs = call
    known = {"dtype", "dim", "channel_dim", "pad_to_multiple_of", "max_length", "truncate"}
    known |= {"channel_order", "scale", "mean", "std"}
    options = {key: value for key, value in kwargs.items() if key in known}
    if options.get("max_length") is None:
        options.pop("truncate", None)  # an error, not an entry
    ours = tensorlift.explain(data, operation=name, **options)
    theirs = reference.explain(data, operation=name, **options)
    result, _ = outcome(getattr(tensorlift, name), data, options)
    assert (ours.error is not None) == is_error(result) == (theirs.error is not None)
    if is_error(result):
        assert str(ours.error).split(":")[0] == result[1]
        return
    assert ours == theirs
    assert ours.shape == tuple(result[0].shape)
    assert ours.dtype == result[0].dtype
