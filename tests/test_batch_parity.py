"""stack, cat, pad and jagged: native and reference agree, for lists that hypothesis makes up."""

import warnings

import ml_dtypes
import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tensorlift
from conftest import examples, same_bits
from strategies import CHANGES, DTYPES, TARGETS, arrays
from tensorlift import reference

# What keeps the number of dimensions and most sizes, so that many lists fit together.
SHAPE_KEEPING = {
    name: change
    for name, change in CHANGES.items()
    if name not in ("transpose", "step", "drop first", "column", "new axis", "broadcast")
}
COMMON_DTYPES = ["i4", "f4", "f4", "f8", "u1", "?", "c8", ml_dtypes.bfloat16, "i8"]


def tensors_too(array):
    """A tensor that shares the array's memory, where there can be one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.from_numpy(array)
    except (TypeError, ValueError):
        return array


@st.composite
def lists(draw):
    """Mostly lists whose arrays fit together in most dimensions."""
    ndim = draw(st.integers(0, 4))
    shape = [draw(st.integers(0, 4)) for _ in range(ndim)]
    loose = draw(st.sets(st.integers(0, 3), max_size=2))
    sizes = [st.integers(0, 4) if d in loose else st.just(n) for d, n in enumerate(shape)]
    dtypes = draw(st.sampled_from([["f4"], ["i4", "f4"], COMMON_DTYPES, DTYPES]))
    changes = draw(st.sampled_from([SHAPE_KEEPING, CHANGES]))
    some_array = arrays(st.tuples(*sizes), dtypes, changes)
    empty = st.sampled_from(dtypes).map(lambda dtype: np.zeros(0, dtype))  # fits to all but stack
    items = st.one_of(some_array, some_array, some_array.map(tensors_too), empty)
    return draw(st.lists(items, max_size=4))


COMMON = {
    "dtype": st.sampled_from([None, *TARGETS]),
    "threads": st.sampled_from([None, 1, 3]),
    "channel_dim": st.sampled_from([None, -1, 0, 2]),
    "memory_format": st.sampled_from(
        [None, torch.contiguous_format, torch.channels_last, torch.channels_last_3d]
    ),
}
DIM = {"dim": st.integers(-5, 5)}
OPTIONS = {
    "stack": COMMON | DIM,
    "cat": COMMON | DIM,
    "pad": COMMON
    | {
        "padding_value": st.sampled_from(
            [0, 1, -1, 2.5, float("nan"), True, 1j, np.float32(3), 300]
        ),
        "padding_side": st.sampled_from(
            ["right", "left", "left", ("left",), ("right", "left"), ["left", "right", "left"]]
        ),
        "pad_to_multiple_of": st.sampled_from([None, 1, 3, (2,), (1, 2), [2, 1, 3]]),
        "max_length": st.sampled_from([None, 1, 2, 3, (2,), (None, 2), [2, 1, None]]),
        "truncate": st.sampled_from([None, "right", "left"]),
        "mask": st.sampled_from([False, True, True, torch.int64, torch.bfloat16]),
        "mask_dim": st.sampled_from([None, 0, -1, (0, 1), [1, 0], (2,), ()]),
    },
    "jagged": {name: COMMON[name] for name in ("dtype", "threads")}
    | {"offsets_dtype": st.sampled_from([torch.int32, torch.int64])},
}
PER_CHANNEL = st.sampled_from([None, 0.5, 2, (0.5,), (0.25, 3), (0.5, 0.125, 1), [1, 2, 3, 4]])
NORMALIZED = st.fixed_dictionaries(
    {"scale": st.sampled_from([1 / 255, 1, -3.0])},
    optional={
        "mean": PER_CHANNEL,
        "std": PER_CHANNEL,
        "dtype": st.sampled_from([None, torch.float32, torch.bfloat16, torch.float64]),
    },
)


def options_for(name):
    """One call in three is of images that are normalised; their channels are in any order."""
    options = st.fixed_dictionaries({}, optional=OPTIONS[name])
    if name not in ("stack", "pad"):
        return options
    order = st.sampled_from([{}, {}, {}, {"channel_order": "bgr"}])
    images = st.one_of(st.just({}), st.just({}), NORMALIZED)
    return st.tuples(options, order, images).map(lambda parts: parts[0] | parts[1] | parts[2])


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
