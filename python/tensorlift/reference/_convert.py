"""from_numpy, one array after another."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, SupportsIndex, get_args

import numpy as np
import numpy.typing as npt
import torch

from .._ops.explanation import Entry
from .._typing import Arrays, Device, Readonly
from ._device import check_device, on_device

# (kind, itemsize) of NumPy's dtypes; not its type numbers, which depend on the platform.
_TWINS = {
    ("b", 1): torch.bool,
    ("i", 1): torch.int8,
    ("i", 2): torch.int16,
    ("i", 4): torch.int32,
    ("i", 8): torch.int64,
    ("u", 1): torch.uint8,
    ("u", 2): torch.uint16,
    ("u", 4): torch.uint32,
    ("u", 8): torch.uint64,
    ("f", 2): torch.float16,
    ("f", 4): torch.float32,
    ("f", 8): torch.float64,
    ("c", 8): torch.complex64,
    ("c", 16): torch.complex128,
}
_ML_DTYPES_IN_TORCH = {
    name: getattr(torch, name)
    for name in (
        "bfloat16",
        "complex32",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
    )
}
CASTABLE = frozenset(_TWINS.values()) | frozenset(_ML_DTYPES_IN_TORCH.values())

_DLPACK_CPU = 1  # kDLCPU of dlpack.h

_READONLY_WARNING = (
    "The given NumPy array is not writable, and PyTorch does not support non-writable tensors. "
    "This means writing to this tensor will result in undefined behavior. You may want to copy "
    "the array to protect its data or make it writable before converting it to a tensor."
)
COMPLEX_WARNING = "Casting complex values to real discards the imaginary part"


def from_numpy(
    arrays: Arrays,
    /,
    *,
    dtype: torch.dtype | None = None,
    device: Device | None = None,
    copy: bool | None = None,
    readonly: Readonly = "warn",
    pin_memory: bool = False,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    pack: bool = True,
    threads: int | None = None,
) -> list[torch.Tensor]:
    """What :func:`tensorlift.from_numpy` does, one array after another: `threads` is ignored.

    On a device each tensor has memory of its own, as with ``pack=False``.
    """
    if not isinstance(pack, bool):
        raise TypeError(f"pack: expected True or False, got {pack!r}.")
    target = check_device(device, non_blocking, stream, pin_memory=pin_memory)
    check_options(dtype, copy, readonly)
    check_threads(threads)
    if target is not None or pin_memory:
        if copy is False:
            raise ValueError("copy: expected None or True with device= or pin_memory=, got False.")
        check_pin_memory(pin_memory)
        readonly = "share"  # it is only read
    tensors = []
    warn_readonly = warn_complex = False
    for index, item in enumerate(as_list(arrays)):
        entry = plan_item(index, item, dtype, copy, readonly)
        if entry.action == "rejected":
            raise error_type(entry)(entry.error)
        array = plain_array(item)
        tensor = _share(array) if entry.action == "shared" else copied(array)
        if entry.action == "shared":
            warn_readonly |= not array.flags.writeable and readonly == "warn"
        elif dtype is not None and dtype != tensor.dtype:
            warn_complex |= discards_imaginary(tensor.dtype, dtype)
            tensor = cast(tensor, dtype)
        if target is not None or pin_memory:
            tensor = tensor.contiguous()
        tensor = tensor.pin_memory() if pin_memory else tensor
        tensors.append(on_device(tensor, target, stream))
    if warn_readonly:
        warnings.warn(_READONLY_WARNING, UserWarning, stacklevel=2)
    if warn_complex:
        warnings.warn(COMPLEX_WARNING, UserWarning, stacklevel=2)
    return tensors


def discards_imaginary(source: torch.dtype, target: torch.dtype) -> bool:
    return source.is_complex and not (target.is_complex or target == torch.bool)


def cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """To a contiguous tensor; without torch's warning, which comes once per process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tensor.to(dtype, memory_format=torch.contiguous_format)


def check_options(dtype: object, copy: object, readonly: object) -> None:
    check_dtype(dtype)
    if not (copy is None or copy is True or copy is False):
        raise TypeError(f"copy: expected True, False or None, got {copy!r}.")
    if not isinstance(readonly, str):
        raise TypeError(f"readonly: expected one of {get_args(Readonly)}, got {readonly!r}.")
    if readonly not in get_args(Readonly):
        raise ValueError(f"readonly: expected one of {get_args(Readonly)}, got {readonly!r}.")


def check_dtype(dtype: object) -> None:
    if dtype is not None and (not isinstance(dtype, torch.dtype) or dtype not in CASTABLE):
        raise TypeError(f"dtype: expected a torch.dtype of plain numbers or None, got {dtype!r}.")


def check_pin_memory(pin_memory: bool) -> None:
    if pin_memory and not torch.accelerator.is_available():
        raise ValueError("pinned memory: expected an accelerator to pin it for, got none.")


def check_threads(threads: object) -> None:
    message = f"threads: expected a positive int or None, got {threads!r}."
    if threads is None:
        return
    if isinstance(threads, bool) or not isinstance(threads, SupportsIndex):
        raise TypeError(message)
    if operator.index(threads) < 1:
        raise ValueError(message)


def as_list(arrays: Iterable[Any]) -> list[Any]:
    if isinstance(arrays, (np.ndarray, torch.Tensor, str, bytes, Mapping)):
        raise TypeError(f"arrays: expected a list of numpy.ndarray, got {type(arrays).__name__}.")
    return [_with_memory(item) for item in list(arrays)]


def _with_memory(item: Any) -> Any:
    """An array over what is none and has memory; everything else as it is."""
    if isinstance(item, (np.ndarray, np.generic, str, bytes, list, tuple, torch.Tensor)):
        return item
    with suppress(TypeError, ValueError):
        return np.asarray(memoryview(item))
    if hasattr(type(item), "__dlpack__"):
        with suppress(Exception):
            if item.__dlpack_device__()[0] == _DLPACK_CPU:
                return np.from_dlpack(item)
    protocols = ("__array__", "__array_interface__", "__array_struct__")
    if any(hasattr(type(item), name) for name in protocols):
        with suppress(Exception):
            return np.asarray(item)
    return item


def torch_dtype_of(dtype: np.dtype[Any]) -> torch.dtype | None:
    """The torch dtype with the same bits; int64 for dates and durations; None if there is none."""
    if dtype.type.__module__ == "ml_dtypes":
        return _ML_DTYPES_IN_TORCH.get(dtype.type.__name__)
    if dtype.kind in "mM":
        return torch.int64
    if dtype.char in "gG":  # longdouble, whatever its size here
        return None
    return _TWINS.get((dtype.kind, dtype.itemsize))


def plan_item(
    index: int, item: Any, dtype: torch.dtype | None, copy: bool | None, readonly: Readonly
) -> Entry:
    if not isinstance(item, (np.ndarray, np.generic)):
        error = f"arrays[{index}]: expected numpy.ndarray, got {type(item).__name__}."
        return Entry(index, "rejected", "not an array", None, None, None, 0, error)
    array = plain_array(item)

    def rejected(reason: str) -> Entry:
        error = f"arrays[{index}]: expected an array that can be converted, got {reason}."
        return Entry(index, "rejected", reason, array.shape, array.dtype, None, 0, error)

    torch_dtype = torch_dtype_of(array.dtype)
    if torch_dtype is None:
        return rejected("dtype without a torch counterpart")
    if isinstance(item, np.ma.MaskedArray) and np.ma.is_masked(item):
        return rejected("masked values")
    if array.dtype.kind in "mM" and dtype != torch.int64:
        return rejected("datetime without dtype=torch.int64")
    reach = sum((n - 1) * abs(stride) for n, stride in zip(array.shape, array.strides, strict=True))
    if array.size and reach + array.itemsize >= 2**63:
        return rejected("strides overflow 64 bits")
    result = torch_dtype if dtype is None else dtype
    reason = _copy_reason(item, array, torch_dtype, result, copy, readonly)
    if reason is None:
        if readonly == "error" and not array.flags.writeable:
            return rejected('read-only and readonly="error"')
        nbytes = _share(array).untyped_storage().nbytes()
        return Entry(index, "shared", "same memory", array.shape, array.dtype, result, nbytes)
    if copy is False:
        return rejected(f"{reason} and copy=False")
    nbytes = array.size * result.itemsize
    return Entry(index, "copied", reason, array.shape, array.dtype, result, nbytes)


def error_type(entry: Entry) -> type[Exception]:
    is_value = entry.reason.startswith(("read-only", "strides overflow"))
    return ValueError if is_value or entry.reason.endswith("copy=False") else TypeError


def _copy_reason(
    item: Any,
    array: npt.NDArray[Any],
    torch_dtype: torch.dtype,
    result: torch.dtype,
    copy: bool | None,
    readonly: Readonly,
) -> str | None:
    """Why the array has to be copied; None where it can be shared."""
    if isinstance(item, np.generic):
        return "NumPy scalar"
    if not array.dtype.isnative:
        return "foreign byte order"
    strides = [
        stride
        for size, stride in zip(reversed(array.shape), reversed(array.strides), strict=True)
        if size > 1 and array.size > 0
    ]
    for stride in strides:
        if stride < 0:
            return "negative stride"
        if stride % array.itemsize:
            return "stride is no multiple of the itemsize"
    if array.size and array.__array_interface__["data"][0] % torch_dtype.itemsize:
        return "misaligned data"
    if torch_dtype != result:
        return "cast"
    if readonly == "copy" and not array.flags.writeable:
        return 'read-only and readonly="copy"'
    if copy is True:
        return "copy=True"
    return None


def plain_array(item: Any) -> npt.NDArray[Any]:
    """Without the behaviour of ndarray's subclasses; a NumPy scalar as a 0-d array."""
    return item.view(np.ndarray) if isinstance(item, np.ndarray) else np.array(item)


def _bits(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Same memory, as integers, where torch.from_numpy does not know the dtype."""
    if array.dtype.kind in "mM":
        return array.view(np.int64)
    if array.dtype.type.__module__ == "ml_dtypes":
        return array.view(f"u{array.itemsize}")
    if array.dtype.kind in "iu":
        return array.view(
            f"{array.dtype.kind}{array.itemsize}"
        )  # ulonglong: a uint64 by another name
    return array


def _share(array: npt.NDArray[Any]) -> torch.Tensor:
    """torch.from_numpy, without its warning, for every dtype and for strides that mean nothing."""
    bits = _bits(array)
    bits = np.lib.stride_tricks.as_strided(bits, bits.shape, meaningful_strides(bits))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensor = torch.from_numpy(bits)
    torch_dtype = torch_dtype_of(array.dtype)
    assert torch_dtype is not None
    return tensor if tensor.dtype == torch_dtype else tensor.view(torch_dtype)


def meaningful_strides(array: npt.NDArray[Any]) -> list[int]:
    """In bytes, where such as mean nothing are among those that torch can have."""
    strides = list(array.strides)
    contiguous = array.itemsize
    for dim in reversed(range(array.ndim)):
        means_nothing = array.shape[dim] == 1 or array.size == 0
        if means_nothing and (strides[dim] < 0 or strides[dim] % array.itemsize):
            strides[dim] = contiguous
        contiguous = strides[dim] * max(array.shape[dim], 1)
    return strides


def copied(array: npt.NDArray[Any]) -> torch.Tensor:
    """A contiguous tensor with torch's own memory, of the array's dtype."""
    contiguous = np.array(array, order="C", copy=True, subok=False)
    if not contiguous.dtype.isnative:
        is_ml_complex = contiguous.dtype.type.__name__ == "complex32"
        parts = 2 if contiguous.dtype.kind == "c" or is_ml_complex else 1
        raw = contiguous.reshape(-1).view(np.uint8).reshape(-1, contiguous.itemsize // parts)
        native = np.ascontiguousarray(raw[:, ::-1]).reshape(-1)
        dtype = contiguous.dtype.newbyteorder("=")
        contiguous = native.view(dtype).reshape(contiguous.shape)
    return _share(contiguous).clone(memory_format=torch.contiguous_format)
