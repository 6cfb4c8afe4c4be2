"""Native and reference agree on everything that can be seen, for lists that hypothesis makes up."""

import tempfile
import warnings

import ml_dtypes
import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tensorlift
from conftest import ML_DTYPES_TWINS, misaligned, odd_strides, read_only, same_bits
from tensorlift import reference

DTYPES = [
    *("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", "Q"),
    *(getattr(ml_dtypes, name) for name in ML_DTYPES_TWINS),
    *("M8[s]", "m8[us]", "g", "U3", "S2", "V4", object, [("x", "f4")], ml_dtypes.int4),
]
TARGETS = [torch.bool, torch.uint8, torch.int32, torch.int64, torch.float16, torch.bfloat16]
TARGETS += [torch.float32, torch.float64, torch.complex64]


class Subclass(np.ndarray):
    pass


def swapped(array: np.ndarray) -> np.ndarray:
    if array.dtype.type.__name__ == "complex32":
        raw = np.ascontiguousarray(array)
        raw = raw.reshape(-1).view(np.uint16).byteswap()
        return raw.view(array.dtype.newbyteorder(">")).reshape(array.shape)
    return array.astype(array.dtype.newbyteorder(">"))


def memory_mapped(array: np.ndarray) -> np.ndarray:
    if array.size == 0 or array.dtype.hasobject:
        return array
    with tempfile.TemporaryFile() as file:
        file.write(np.ascontiguousarray(array).tobytes())
        file.flush()
        return np.memmap(file, array.dtype, "r", shape=array.shape)


def far_size_1_stride(array: np.ndarray, stride: int) -> np.ndarray:
    strides = [stride if n <= 1 else s for n, s in zip(array.shape, array.strides, strict=True)]
    opaque = np.asarray(array).view(f"V{array.itemsize}")  # as_strided does not know every dtype
    return np.lib.stride_tricks.as_strided(opaque, array.shape, strides).view(array.dtype)


def no_objects(change):
    """Raw bytes of Python objects cannot be moved about."""
    return lambda a: a if a.dtype.hasobject else change(a)


CHANGES = {
    "transpose": lambda a: a.T,
    "reverse": lambda a: a[::-1] if a.ndim else a,
    "reverse last": lambda a: a[..., ::-1] if a.ndim else a,
    "step": lambda a: a[..., ::2] if a.ndim else a,
    "drop first": lambda a: a[1:] if a.ndim else a,
    "column": lambda a: a[..., 0] if a.ndim and a.shape[-1] else a,
    "new axis": lambda a: a[None] if a.ndim < 6 else a,
    "broadcast": lambda a: np.broadcast_to(a, (2, *a.shape)) if a.ndim < 6 else a,
    "fortran": np.asfortranarray,
    "swapped": no_objects(swapped),
    "misaligned": no_objects(misaligned),
    "odd strides": no_objects(odd_strides),
    "read-only": read_only,
    "subclass": lambda a: a.view(Subclass),
    "recarray": lambda a: a if a.dtype.names else a.view(np.recarray),
    "memmap": no_objects(memory_mapped),
    "masked, none": lambda a: np.ma.masked_array(a),
    "masked, first": lambda a: np.ma.masked_array(a, np.arange(a.size).reshape(a.shape) == 0),
    "far stride": no_objects(lambda a: far_size_1_stride(a, 4096)),
    "negative size-1 stride": no_objects(lambda a: far_size_1_stride(a, -8)),
    "odd size-1 stride": no_objects(lambda a: far_size_1_stride(a, 3)),
}


@st.composite
def arrays(draw):
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=5)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    seed = draw(st.integers(0, 99))
    values = np.random.default_rng(seed).integers(0, 100, size=shape)
    array = values.astype(dtype) if dtype.names is None else np.zeros(shape, dtype)
    for name in draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=3)):
        array = CHANGES[name](array)
    return array


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


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(items, max_size=4), options)
def test_from_numpy(data, kwargs):
    ours, our_warnings = outcome(tensorlift, data, kwargs)
    theirs, their_warnings = outcome(reference, data, kwargs)
    assert our_warnings == their_warnings
    if not isinstance(ours, list) or not isinstance(theirs, list):
        assert ours == theirs
        return
    for array, a, b in zip(data, ours, theirs, strict=True):
        assert same_bits(a, b)
        assert a.stride() == b.stride()
        assert a.untyped_storage().nbytes() == b.untyped_storage().nbytes()
        assert a.untyped_storage().resizable() == b.untyped_storage().resizable()
        address = array.__array_interface__["data"][0]
        if array.size:
            assert (a.data_ptr() == address) == (b.data_ptr() == address)


@settings(max_examples=700, deadline=None, suppress_health_check=list(HealthCheck))
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


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
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
