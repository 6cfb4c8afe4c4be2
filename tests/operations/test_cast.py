"""Casts: the same bits as Tensor.to(), for every pair of dtypes and every awkward value."""

import warnings

import ml_dtypes
import numpy as np
import pytest
import torch

import tensorlift
from support.inputs import ML_DTYPES_IN_TORCH, misaligned, odd_strides

NAMES = [
    *("bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
    *ML_DTYPES_IN_TORCH,
]
TARGETS = [getattr(torch, name) for name in NAMES]

INTEGERS = [0, 1, 2, 5, 100]
INTEGERS += [2**k + d for k in (7, 8, 11, 15, 16, 24, 31, 32, 53, 63, 64) for d in (-1, 0, 1)]
FLOATS = [0.0, -0.0, 0.5, 0.49999997, 1.0, 1.5, 2.5, float("inf"), float("nan"), 1e-8, 6e-8, 3e-8]
FLOATS += [65503.9, 65504.0, 65519.0, 65520.0, 1e5, 1e19, 1e30, 1e38, 3.5e38, 1e300, 1e-40, 1e-320]
FLOATS += [2.0**k + d for k in (7, 8, 15, 16, 31, 32, 33, 40, 53, 63, 64) for d in (-1, 0, 1, 0.5)]
FLOATS += [448.0, 464.0, 465.0, 480.0, 57344.0, 61440.0, 2.0**-9, 2.0**-10, 2.0**-130]
FLOATS += [-value for value in FLOATS]


def values_of(name: str) -> np.ndarray:
    """Every awkward value that the dtype can hold."""
    if name == "bool":
        return np.array([False, True])
    if name.startswith(("uint", "int")):
        limits = np.iinfo(name)
        values = {s * v for v in INTEGERS for s in (1, -1)}
        return np.array([v for v in sorted(values) if limits.min <= v <= limits.max], name)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name.startswith("complex"):
            parts = np.array(FLOATS)
            values = parts + 1j * parts[::-1]
            return values.astype(ml_dtypes.complex32 if name == "complex32" else name)
        if name.startswith(("bfloat", "float8", "float16")):  # every bit pattern that there is
            dtype = np.dtype(name if name == "float16" else getattr(ml_dtypes, name))
            return np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(dtype)
        return np.array(FLOATS).astype(name)


def to(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tensor.to(dtype)


def raw(tensor: torch.Tensor) -> torch.Tensor:
    """[numel, itemsize] bytes."""
    return tensor.contiguous().view(-1).view(torch.uint8).view(-1, tensor.element_size())


def torch_answers(source: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """[numel, itemsize] bytes, as torch's several loops give them.

    torch's scalar and vector loops disagree about what has no right answer: the payload of a NaN
    that goes through half or bfloat16, and a float outside uint32. Each of its answers is right.
    """
    repeated = raw(to(source.repeat_interleave(64), dtype)).view(len(source), 64, -1)[:, 0]
    strided = raw(to(source.repeat_interleave(128)[::2], dtype)).view(len(source), 64, -1)[:, 0]
    scalar = [raw(to(value.reshape(1), dtype)) for value in source[:300]]
    return [torch.cat([*scalar, repeated[300:]]), repeated, strided]


LAYOUTS = {
    "contiguous": lambda a: a,
    "reversed": lambda a: a[::-1],
    "swapped": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "misaligned": misaligned,
    "odd strides": odd_strides,
    "repeated": lambda a: np.repeat(a, 65),
    "sliced": lambda a: np.repeat(a, 2)[::2],
}


@pytest.mark.parametrize("target", TARGETS, ids=NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_every_pair_is_bit_for_bit_what_torch_gives(name, target):
    array = values_of(name)
    (source,) = tensorlift.from_numpy([array])
    answers = torch_answers(source, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (tensor,) = tensorlift.from_numpy([array], dtype=target)
        (repeated,) = tensorlift.from_numpy([np.repeat(array, 65)], dtype=target)
    assert tensor.dtype == target
    for ours in (raw(tensor), raw(repeated).view(len(array), 65, -1)[:, 13]):
        right = torch.stack([(ours == answer).all(-1) for answer in answers]).any(0)
        wrong = [(array[i], ours[i].tolist()) for i in (~right).nonzero().flatten().tolist()]
        assert not wrong


NUMPY_NAMES = [n for n in NAMES if n not in (*ML_DTYPES_IN_TORCH, "bool", "uint8", "int8")]


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "contiguous"])
@pytest.mark.parametrize("name", NUMPY_NAMES)
def test_the_layout_does_not_change_a_cast(name, layout):
    array = LAYOUTS[layout](values_of(name))
    plain = np.array(array, dtype=array.dtype.newbyteorder("="))
    for target in (torch.float32, torch.int64, torch.bfloat16, torch.complex64, torch.bool):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (tensor,) = tensorlift.from_numpy([array], dtype=target)
            (expected,) = tensorlift.from_numpy([plain], dtype=target)
        assert torch.equal(raw(tensor), raw(expected))


def test_a_bool_of_any_byte_is_true(tl):
    array = np.array([0, 1, 2, 255], np.uint8).view(bool)
    (tensor,) = tl.from_numpy([array], dtype=torch.float32)
    assert tensor.tolist() == [0, 1, 1, 1]


def test_complex_to_real_warns_as_torch_does(tl):
    arrays = [np.array([1 + 2j]), np.array([3 - 1j], np.complex64)]
    with pytest.warns(UserWarning, match="^Casting complex values to real discards") as caught:
        tensors = tl.from_numpy(arrays, dtype=torch.float32)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert [t.item() for t in tensors] == [1, 3]
    tl.from_numpy(arrays, dtype=torch.bool)
    tl.from_numpy(arrays, dtype=torch.complex128)


def test_the_same_dtype_is_no_cast(tl):
    tl.from_numpy([np.zeros(3, np.float32)], dtype=torch.float32, copy=False)
    with pytest.raises(ValueError, match=r"^arrays\[0\]: "):
        tl.from_numpy([np.zeros(3)], dtype=torch.float32, copy=False)
