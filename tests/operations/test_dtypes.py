"""Which NumPy dtype becomes which torch dtype, and which are refused with what advice."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import torch

from support.inputs import ML_DTYPES_IN_TORCH


@pytest.mark.parametrize("name", ML_DTYPES_IN_TORCH)
def test_ml_dtypes_that_torch_has_share_every_bit(tl, name):
    dtype = np.dtype(getattr(ml_dtypes, name))
    bits = np.arange(2 ** min(16, 8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    (tensor,) = tl.from_numpy([bits.view(dtype)], copy=False)
    assert tensor.dtype == getattr(torch, name)
    assert torch.equal(tensor.view(torch.uint8), torch.from_numpy(bits.view(np.uint8)))


@pytest.mark.parametrize("name", sorted({"bfloat16", "complex32"} & {*ML_DTYPES_IN_TORCH}))
def test_ml_dtypes_of_foreign_byte_order_are_swapped(tl, name):
    dtype = np.dtype(getattr(ml_dtypes, name))
    native = np.array([1.5, -2.25, 3.0], dtype)
    halves = native.view(np.uint16).byteswap()
    (tensor,) = tl.from_numpy([halves.view(dtype.newbyteorder(">"))])
    assert torch.equal(tensor.view(torch.int16), torch.from_numpy(native.view(np.int16)))


def test_bfloat16_values_agree_with_ml_dtypes(tl):
    values = np.array([1.5, -0.0, 3.140625, 1e30])
    (tensor,) = tl.from_numpy([values.astype(ml_dtypes.bfloat16)])
    assert torch.equal(tensor, torch.tensor(values).to(torch.bfloat16))


def test_ml_dtypes_is_not_imported():
    code = "import sys, numpy, tensorlift; tensorlift.from_numpy([numpy.zeros(2)])"
    check = "; sys.exit('ml_dtypes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code + check], check=False).returncode == 0


@pytest.mark.parametrize("dtype", ["Q", "P", "q", "l", "L"])
def test_integers_by_another_name(tl, dtype):
    array = np.array([0, 1, 2**62], dtype)
    (tensor,) = tl.from_numpy([array], copy=False)
    assert tensor.dtype == (torch.uint64 if array.dtype.kind == "u" else torch.int64)
    assert tensor.tolist() == [0, 1, 2**62]


@pytest.mark.parametrize("kind", ["M8[s]", "m8[ns]"])
def test_dates_are_counts_when_asked_for(tl, kind):
    array = np.array([0, 1, "NaT"], kind)
    (tensor,) = tl.from_numpy([array], dtype=torch.int64, copy=False)
    assert tensor.tolist() == [0, 1, -(2**63)]
    array[0] = 5
    assert tensor[0] == 5
    (swapped,) = tl.from_numpy([array.astype(">" + kind)], dtype=torch.int64)
    assert swapped.tolist() == [5, 1, -(2**63)]
    for dtype in (None, torch.float64, torch.int32):
        with pytest.raises(TypeError, match=r"^arrays\[0\]: "):
            tl.from_numpy([array], dtype=dtype)


def test_a_date_scalar(tl):
    (tensor,) = tl.from_numpy([np.datetime64(7, "s")], dtype=torch.int64)
    assert tensor.item() == 7


REFUSED = {
    "str": (np.array(["a", "bc"]), "Turn text into numbers"),
    "bytes": (np.array([b"a", b"bc"]), "Turn text into numbers"),
    "structured": (np.zeros(2, [("x", "f4"), ("y", "i4")]), "array['x']"),
    "record": (np.rec.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]), "array['x']"),
    "void": (np.zeros(2, "V8"), "array.view()"),
    "longdouble": (np.zeros(2, np.longdouble), "array.astype(numpy.float64)"),
    "clongdouble": (np.zeros(2, np.clongdouble), "array.astype(numpy.complex128)"),
    "int4": (np.zeros(2, ml_dtypes.int4), "array.astype(numpy.int8)"),
    "float8_e4m3": (np.zeros(2, ml_dtypes.float8_e4m3), "array.astype(numpy.float32)"),
    "masked": (np.ma.masked_array([1, 2], [False, True]), "array.filled(value)"),
    "masked, structured": (
        np.ma.array([(1, 2.0)], dtype="i4,f4", mask=[(True, False)]),
        "array['f0']",
    ),
    "str scalar": (np.str_("a"), "Turn text into numbers"),
    "object": (np.array([None, 1], object), "list(array) where its elements are arrays"),
    "object 0-d": (np.array(None), "array.astype(numpy.float32)"),
}
if hasattr(np.dtypes, "StringDType"):
    REFUSED["StringDType"] = (np.array(["a"], np.dtypes.StringDType()), "Turn text into numbers")


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_refused_by_index(tl, case, dtype):
    array, _ = REFUSED[case]
    with pytest.raises(TypeError, match=r"^arrays\[1\]: expected "):
        tl.from_numpy([np.zeros(1), array], dtype=dtype)


@pytest.mark.parametrize("case", REFUSED)
def test_the_error_names_dtype_shape_and_remedy(case):
    import tensorlift

    array, remedy = REFUSED[case]
    with pytest.raises(TypeError) as caught:
        tensorlift.from_numpy([array])
    message = str(caught.value)
    assert remedy in message
    assert str(array.shape) in message
    assert case == "masked" or str(array.dtype) in message


def test_the_remedy_for_an_array_of_arrays_helps(tl):
    ragged = np.empty(2, object)
    ragged[:] = [np.arange(3.0), np.arange(2.0)]
    with pytest.raises(TypeError):
        tl.from_numpy([ragged])
    assert [len(tensor) for tensor in tl.from_numpy(list(ragged))] == [3, 2]
