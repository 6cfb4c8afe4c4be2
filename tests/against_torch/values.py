"""Kinds of values that a sample may hold, each made anew: what torch and tensorlift are given."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import math
import types
import uuid
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import torch

from support.inputs import misaligned, odd_strides, read_only
from support.strategies import Subclass, memory_mapped

Pair = collections.namedtuple("Pair", ["x", "y"])


class Typed(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Point:
    x: Any
    y: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: Any


class Color(enum.IntEnum):
    RED = 1


class Plain(enum.Enum):
    RED = 1


class Int(int):
    pass


class Float(float):
    pass


class Text(str):
    __slots__ = ()


class Tuple(tuple):
    __slots__ = ()


class List(list):
    pass


class Dict(dict):
    pass


class Labelled(torch.Tensor):
    """Keeps a label through torch's functions, as MONAI's MetaTensor keeps its affine."""

    label = "none"

    @classmethod
    def __torch_function__(cls, function, classes, args=(), kwargs=None):
        result = super().__torch_function__(function, classes, args, kwargs or {})
        if isinstance(result, Labelled):
            items = args[0] if args and isinstance(args[0], (list, tuple)) else args
            labels = {item.label for item in items if isinstance(item, Labelled)}
            result.label = "+".join(sorted(labels))
        return result


def labelled(label: str) -> Labelled:
    tensor = torch.arange(3.0).as_subclass(Labelled)
    tensor.label = label
    return tensor


def row(dtype: Any = "f4") -> np.ndarray:
    return np.arange(3).astype(dtype)


def square(dtype: Any = "f4") -> np.ndarray:
    return np.arange(4).reshape(2, 2).astype(dtype)


def image() -> torch.Tensor:
    """With the channels last in memory."""
    return torch.arange(24.0).reshape(1, 2, 4, 3).permute(0, 3, 1, 2)


def in_inference_mode() -> torch.Tensor:
    with torch.inference_mode():
        return torch.arange(3.0)


def quantised() -> torch.Tensor:
    return torch.quantize_per_tensor(torch.arange(3.0), 0.5, 0, torch.quint8)


def packed() -> torch.nn.utils.rnn.PackedSequence:
    return torch.nn.utils.rnn.pack_sequence([torch.arange(2.0), torch.arange(1.0)])


def records() -> np.ndarray:
    return np.zeros(2, [("a", "f4"), ("b", "i4")])


def an_array_of_arrays() -> np.ndarray:
    result = np.empty(2, object)
    result[:] = [np.arange(2), np.arange(3)]
    return result


def _arrays() -> dict[str, Callable[[], Any]]:
    kinds: dict[str, Callable[[], Any]] = {}
    for name in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
        kinds[f"array {np.dtype(name)}"] = lambda name=name: row(name)
    for name in ("f2", "f4", "f8", "c8", "c16"):
        kinds[f"array {np.dtype(name)}"] = lambda name=name: row(name)
    return kinds | {
        "array, 2-D": square,
        "array, 0-D": lambda: np.array(2.5, "f4"),
        "array, 0-D int64": lambda: np.array(2),
        "array, empty": lambda: np.zeros((0, 3), "f4"),
        "array, of one element": lambda: np.array([2.5]),
        "array, another length": lambda: np.arange(4.0),
        "array, Fortran order": lambda: np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "array, C order": lambda: np.arange(6.0).reshape(2, 3),
        "array, mirrored": lambda: row()[::-1],
        "array, every other": lambda: np.arange(6, dtype="f4")[::2],
        "array, broadcast": lambda: np.broadcast_to(np.float32(2), 3),
        "array, big-endian": lambda: row(">f4"),
        "array, read-only": lambda: read_only(row()),
        "array, misaligned": lambda: misaligned(row()),
        "array, odd strides": lambda: odd_strides(row()),
        "array, memory-mapped": lambda: memory_mapped(row()),
        "array, subclass": lambda: row().view(Subclass),
        "array, matrix": lambda: square().view(np.matrix),
        "array, masked": lambda: np.ma.array(row(), mask=[False, True, False]),
        "array, nothing masked": lambda: np.ma.array(row()),
        "array, records": records,
        "array, recarray": lambda: records().view(np.recarray),
        "array, a field": lambda: records()["a"],
        "array, text": lambda: np.array(["a", "bc"]),
        "array, bytes": lambda: np.array([b"a", b"bc"]),
        "array, StringDType": string_array,
        "array, objects": lambda: np.array([None, 1], object),
        "array, arrays": an_array_of_arrays,
        "array, dates": lambda: np.array(["2026-01-01", "2026-01-02"], "M8[D]"),
        "array, durations": lambda: np.array([1, 2], "m8[s]"),
        "array, longdouble": lambda: row("g"),
        "array, void": lambda: np.zeros(2, "V4"),
        "array, bfloat16": lambda: row(ml_dtypes.bfloat16),
        "array, float8": lambda: row(ml_dtypes.float8_e4m3fn),
        "array, int4": lambda: row(ml_dtypes.int4),
    }


def string_array() -> np.ndarray:
    has_it = hasattr(np.dtypes, "StringDType")
    return np.array(["a", "bc"], np.dtypes.StringDType() if has_it else object)


def _scalars() -> dict[str, Callable[[], Any]]:
    kinds: dict[str, Callable[[], Any]] = {}
    for kind in (np.bool_, np.int8, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64):
        kinds[f"scalar {kind.__name__}"] = lambda kind=kind: kind(1)
    for kind in (np.float16, np.float32, np.float64, np.complex64, np.complex128, np.longdouble):
        kinds[f"scalar {kind.__name__}"] = lambda kind=kind: kind(1.5)
    return kinds | {
        "scalar, date": lambda: np.datetime64("2026-01-01"),
        "scalar, duration": lambda: np.timedelta64(1, "s"),
        "scalar, text": lambda: np.str_("a"),
        "scalar, bytes": lambda: np.bytes_(b"a"),
        "scalar, void": lambda: np.void(b"abcd"),
        "scalar, record": lambda: records()[0],
        "scalar, bfloat16": lambda: ml_dtypes.bfloat16(1.5),
        "scalar, int4": lambda: ml_dtypes.int4(1),
    }


def _numbers_and_text() -> dict[str, Callable[[], Any]]:
    return {
        "int": lambda: 2,
        "int, 2 to the 62": lambda: 1 << 62,
        "int, 2 to the 63": lambda: 1 << 63,
        "int, 2 to the 70": lambda: 1 << 70,
        "int, subclass": lambda: Int(2),
        "IntEnum": lambda: Color.RED,
        "bool": lambda: True,
        "float": lambda: 2.5,
        "float, NaN": lambda: math.nan,
        "float, subclass": lambda: Float(2.5),
        "complex": lambda: 1 + 2j,
        "Decimal": lambda: decimal.Decimal("1.5"),
        "Fraction": lambda: fractions.Fraction(1, 2),
        "str": lambda: "abc",
        "str, empty": lambda: "",
        "str, subclass": lambda: Text("abc"),
        "bytes": lambda: b"abc",
        "bytearray": lambda: bytearray(b"abc"),
        "None": lambda: None,
        "Ellipsis": lambda: ...,
        "Enum": lambda: Plain.RED,
        "path": lambda: PurePosixPath("a"),
        "date": lambda: datetime.date(2026, 1, 1),
        "UUID": lambda: uuid.UUID(int=1),
        "object": object,
        "a type": lambda: int,
        "a function": lambda: len,
    }


def _tensors() -> dict[str, Callable[[], Any]]:
    kinds: dict[str, Callable[[], Any]] = {}
    for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool"):
        kinds[f"tensor {name}"] = lambda name=name: torch.arange(3).to(getattr(torch, name))
    for name in ("complex64", "float8_e5m2", "uint16"):
        kinds[f"tensor {name}"] = lambda name=name: torch.arange(3.0).to(getattr(torch, name))
    return kinds | {
        "tensor, 0-D": lambda: torch.tensor(2.5),
        "tensor, empty": lambda: torch.zeros(0, 3),
        "tensor, another length": lambda: torch.arange(4.0),
        "tensor, 2-D": lambda: torch.arange(4.0).reshape(2, 2),
        "tensor, transposed": lambda: torch.arange(4.0).reshape(2, 2).T,
        "tensor, expanded": lambda: torch.tensor(2.0).expand(3),
        "tensor, view": lambda: torch.arange(9.0)[2:8:2],
        "tensor, channels last": image,
        "tensor, contiguous image": lambda: image().contiguous(),
        "tensor, requires grad": lambda: torch.arange(3.0).requires_grad_(),
        "Parameter": lambda: torch.nn.Parameter(torch.arange(3.0)),
        "tensor, conjugated": lambda: torch.tensor([1 + 2j, 2j, 3]).conj(),
        "tensor, negated": lambda: torch.tensor([1 + 2j, 2j, 3]).conj().imag,
        "tensor, of inference mode": in_inference_mode,
        "tensor, COO": lambda: torch.arange(3.0).to_sparse(),
        "tensor, CSR": lambda: torch.eye(2).to_sparse_csr(),
        "tensor, nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(1)]),
        "tensor, jagged": lambda: torch.nested.nested_tensor(
            [torch.ones(2), torch.ones(1)], layout=torch.jagged
        ),
        "tensor, quantised": quantised,
        "tensor, meta": lambda: torch.zeros(3, device="meta"),
        "tensor, subclass": lambda: labelled("a"),
        "tensor, with an attribute": with_attribute,
    }


def with_attribute() -> torch.Tensor:
    tensor = torch.arange(3.0)
    tensor.label = "a"
    return tensor


def _containers() -> dict[str, Callable[[], Any]]:
    return {
        "dict": lambda: {"x": 1, "y": row()},
        "dict, in another order": lambda: {"y": row(), "x": 1},
        "dict, one key more": lambda: {"x": 1, "y": row(), "z": 2},
        "dict, empty": dict,
        "dict, keys of all types": lambda: {None: 1, 2: 1, (3, "a"): 1, 2.5: 1},
        "dict, subclass": lambda: Dict(x=1, y=row()),
        "OrderedDict": lambda: collections.OrderedDict(x=1, y=row()),
        "defaultdict": lambda: collections.defaultdict(int, x=1, y=row()),
        "Counter": lambda: collections.Counter(x=1, y=2),
        "ChainMap": lambda: collections.ChainMap({"x": 1}, {"y": row()}),
        "UserDict": lambda: collections.UserDict(x=1, y=row()),
        "mappingproxy": lambda: types.MappingProxyType({"x": 1, "y": row()}),
        "list": lambda: [1, row()],
        "list, of one": lambda: [1],
        "list, empty": list,
        "list, of arrays": lambda: [row(), row()],
        "list, nested": lambda: [[1, 2], [3]],
        "list, of text": lambda: ["a", "b"],
        "list, subclass": lambda: List([1, row()]),
        "tuple": lambda: (1, row()),
        "tuple, empty": tuple,
        "tuple, subclass": lambda: Tuple((1, row())),
        "namedtuple": lambda: Pair(1, row()),
        "NamedTuple": lambda: Typed(1, row()),
        "dataclass": lambda: Point(1, row()),
        "dataclass, frozen": lambda: Frozen(row()),
        "range": lambda: range(2),
        "deque": lambda: collections.deque([1, row()]),
        "UserList": lambda: collections.UserList([1, row()]),
        "array.array": lambda: array.array("d", [1, 2]),
        "memoryview": lambda: memoryview(b"ab"),
        "set": lambda: {1, 2},
        "frozenset": lambda: frozenset([1, 2]),
        "a generator": lambda: (i for i in range(2)),
        "an iterator": lambda: iter([1, 2]),
        "namespace": lambda: types.SimpleNamespace(x=1),
        "PackedSequence": packed,
    }


KINDS: dict[str, Callable[[], Any]] = {
    **_arrays(),
    **_scalars(),
    **_numbers_and_text(),
    **_tensors(),
    **_containers(),
}
