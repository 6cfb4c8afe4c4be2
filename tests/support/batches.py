"""Lists to make batches of, and options for it, for hypothesis."""

import warnings

import ml_dtypes
import numpy as np
import torch
from hypothesis import strategies as st

from support.strategies import CHANGES, DTYPES, TARGETS, arrays

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
