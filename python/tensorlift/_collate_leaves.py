"""What stands in one place of all samples becomes one tensor: for torch's collate and for ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from numbers import Number
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch.utils.data._utils import collate as torch_collate

from . import _C
from ._convert import from_numpy
from ._shared import memory_for_batches
from ._tree import Attribute, Path, path_text

CollateFn: TypeAlias = Callable[..., Any]
CollateFnMap: TypeAlias = dict[type | tuple[type, ...], CollateFn]


def _collate_tensors(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return _collate_alone(batch, torch_collate.collate_tensor_fn, collate_fn_map)


def _collate_arrays(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return _collate_alone(batch, torch_collate.collate_numpy_array_fn, collate_fn_map)


def _collate_scalars(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    numbers = scalars_as_array(batch)
    if numbers is not None:
        return _numbers_alone(numbers)
    return _collate_alone(batch, torch_collate.collate_numpy_scalar_fn, collate_fn_map)


def _collate_numbers(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    numbers = numbers_as_array(batch)
    if numbers is not None:
        return _numbers_alone(numbers)
    original = (
        torch_collate.collate_float_fn
        if isinstance(batch[0], float)
        else torch_collate.collate_int_fn
    )
    return collate_alike(batch, original, collate_fn_map, ())


collate_fn_map: CollateFnMap = {
    torch.Tensor: _collate_tensors,
    np.ndarray: _collate_arrays,
    (np.bool_, np.number, np.object_): _collate_scalars,
    float: _collate_numbers,
    int: _collate_numbers,
}
"""For torch's own ``collate``: the same functions, one native call for each leaf."""

# What stands for a leaf that our walk leaves to the native call.
STACKED = {
    torch_collate.collate_tensor_fn,
    torch_collate.collate_numpy_array_fn,
    torch_collate.collate_numpy_scalar_fn,
    _collate_tensors,
    _collate_arrays,
    _collate_scalars,
}
OF_TENSORS = {torch_collate.collate_tensor_fn, _collate_tensors}
OF_SCALARS = {torch_collate.collate_numpy_scalar_fn, _collate_scalars}
NUMBERS = {torch_collate.collate_float_fn, torch_collate.collate_int_fn, _collate_numbers}
NATIVE: set[CollateFn] = {*STACKED, *NUMBERS}
ORIGINALS: dict[CollateFn, CollateFn] = {
    _collate_tensors: torch_collate.collate_tensor_fn,
    _collate_arrays: torch_collate.collate_numpy_array_fn,
    _collate_scalars: torch_collate.collate_numpy_scalar_fn,
}


def all_plain_tensors(batch: Sequence[Any]) -> bool:
    return set(map(type, batch)) == {torch.Tensor}  # a subclass has rules of its own


def numbers_as_array(batch: Sequence[Any]) -> Any:
    """Python numbers as torch types them, 1-D; None where torch has to decide."""
    try:
        numbers = np.array(batch)
    except (TypeError, ValueError, OverflowError):
        return None
    is_plain = numbers.ndim == 1 and (
        numbers.dtype == np.float64
        if isinstance(batch[0], float)
        else numbers.dtype in (np.int64, np.bool_)
    )
    return numbers if is_plain else None


def scalars_as_array(batch: Sequence[Any]) -> Any:
    """NumPy scalars of one type, 1-D; None for others, and where torch knows no such dtype."""
    kind = type(batch[0])
    if kind not in _SCALARS or set(map(type, batch)) != {kind}:
        return None
    return np.fromiter(batch, kind, len(batch))


# Those that torch has as well.
_SCALARS = {
    *(np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
    *(np.float16, np.float32, np.float64, np.complex64, np.complex128),
}


def share_numbers(numbers: Any) -> torch.Tensor:
    """A tensor over the memory of a 1-D array."""
    return from_numpy([numbers])[0]  # torch's ends the process where it gets no memory


def _numbers_alone(numbers: Any) -> torch.Tensor:
    """A 1-D array that nobody else has, as a tensor: shared, or where workers put their batches."""
    memory = memory_for_batches()
    if memory == "own":
        return share_numbers(numbers)
    (result,) = _C.join_columns([numbers], [None], memory, None)
    if not isinstance(result, torch.Tensor):
        raise cast(Exception, result)
    return result


def _collate_alone(batch: Sequence[Any], original: CollateFn, fn_map: Any) -> Any:
    refusal: object = None
    if original is not torch_collate.collate_tensor_fn or all_plain_tensors(batch):
        (refusal,) = _C.join_columns([batch], [None], memory_for_batches(), None)
        if isinstance(refusal, torch.Tensor):
            return refusal
    return collate_by_torch(batch, original, fn_map, refusal, ())


def collate_by_torch(
    batch: Sequence[Any], original: CollateFn, fn_map: Any, refusal: object, path: Path
) -> Any:
    """What torch makes of a column that we refuse; its error gets our words, and the place."""
    try:
        return original(batch, collate_fn_map=torch_collate.default_collate_fn_map | (fn_map or {}))
    except (RuntimeError, TypeError, ValueError) as error:
        if not isinstance(refusal, Exception):
            raise
        kind = next(k for k in (TypeError, ValueError, RuntimeError) if isinstance(error, k))
        raise kind(named(refusal, path)) from error


def collate_alike(batch: Sequence[Any], original: CollateFn, fn_map: Any, path: Path) -> Any:
    """What torch makes of numbers, or of tensors; its error names the first value that is none."""
    try:
        return original(batch, collate_fn_map=fn_map)
    except (RuntimeError, TypeError, ValueError) as error:
        of_tensors = isinstance(batch[0], torch.Tensor)
        like, what = (torch.Tensor, "a tensor") if of_tensors else (Number, "a number")
        index = next((i for i, value in enumerate(batch) if not isinstance(value, like)), None)
        if index is None:
            raise
        kind = next(k for k in (TypeError, ValueError, RuntimeError) if isinstance(error, k))
        raise kind(
            f"{path_text(index, path)}: expected {what} like {path_text(0, path)}, got "
            f"{type(batch[index]).__name__}."
        ) from error


def named(error: Exception, path: Path) -> str:
    """What an error says of arrays[5], said of samples[5] and the place in it."""
    text = re.sub(r"arrays\[(\d+)\]", lambda match: path_text(int(match[1]), path), str(error))
    if not path:
        return text
    place = path[-1].removeprefix(".") if isinstance(path[-1], Attribute) else path[-1]
    return re.sub(
        r"Use pad\(\) or jagged\(\) for a batch of different shapes.*",
        lambda _: f"Use tensorlift.Collate(pad=[{place!r}]) for a batch of different shapes.",
        text,
    )
