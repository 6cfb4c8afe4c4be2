"""Samples to batches: torch.utils.data.default_collate, as one native walk over the samples.

The walk is csrc/ops/collate.cpp. What it does not know comes here: containers of other types, and
values that torch has to decide about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from numbers import Number
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
import torch

from .. import _C
from .._ops.batch import Jagged as Jagged  # for the walk
from .._ops.batch import padded as padded
from .._ops.by_torch import is_cut_off, normalized
from .._torch_internals import torch_collate, worker
from .into import copied_into, device_of, refuse_in_worker
from .send import send
from .shared import memory_for_batches
from .tree import (
    Path,
    path_text,
    place_name,
    with_elements,
    with_items,
)
from .tree import with_fields as with_fields

CollateFn: TypeAlias = Callable[..., Any]
CollateFnMap: TypeAlias = Mapping[type | tuple[type, ...], CollateFn]
OptionsFor: TypeAlias = Callable[[Path, str], tuple[Any, ...] | str | None]


def collate(
    samples: Sequence[Any],
    /,
    *,
    out: Any = None,
    collate_fn_map: CollateFnMap | None = None,
) -> Any:
    """Joins samples to a batch, as :func:`torch.utils.data.default_collate` does, but faster.

    Arrays, NumPy scalars, numbers and CPU tensors that stand in the same place of every sample
    become one tensor with a new first dimension; text becomes a list; mappings, named tuples,
    sequences and records (dataclasses, classes of attrs, models of pydantic) keep their structure.
    Where a type has a method ``__collate__(values)``, that makes the batch of them. Every array is
    copied exactly once. In a worker of a :class:`torch.utils.data.DataLoader` it is copied to
    shared memory, which the main process reads in place. When the main process has freed the batch,
    the worker uses that memory again.

    Args:
        samples: at least one, all of the same structure. A tuple becomes a list, as in torch.
        out: a tree like that of the batch, for instance an earlier batch, whose tensors are written
            to instead of new ones. Each has the dtype of the batch's tensor, at least as many rows
            (the size of the first dimension), and any strides; all are in the host's memory or on
            one device. Where it has None, or no tensor stands in the batch, the batch has what it
            has without `out`. What is read may lie in these tensors: it is read first.
        collate_fn_map: functions for types of your own, as for
            :func:`torch.utils.data._utils.collate.collate`: each is called with a list of values
            and ``collate_fn_map=``. They come before torch's own, which are in
            ``torch.utils.data._utils.collate.default_collate_fn_map`` (whatever was added there
            counts as well).

    Returns:
        The batch that torch gives. A record is copied and its fields are set; neither
        `__init__` nor `__post_init__` runs. Its tensors are those of `out`, or views of their first
        rows where the batch has fewer.

    Raises:
        TypeError: a value is of no type that can be joined, or its dtype has no torch counterpart;
            something in `out` is no tensor.
        ValueError: a tensor of `out` has another dtype, shape or device, or cannot be written to;
            `out` has another structure, or is given in a worker of a DataLoader. Nothing was
            written then.
        RuntimeError: values that stand in the same place differ in shape or length.
        KeyError: a key of the first sample is missing in another; `samples` is a mapping.
        IndexError: there are no samples.

    An error of a value names its place, for instance ``samples[5]["image"]``; its type is torch's.

    Example:
        >>> import numpy as np, tensorlift
        >>> samples = [{"image": np.full((2, 2), i), "label": i} for i in range(3)]
        >>> batch = tensorlift.collate(samples)
        >>> batch["image"].shape, batch["label"]
        (torch.Size([3, 2, 2]), tensor([0, 1, 2]))
    """
    fn_map = torch_collate.default_collate_fn_map
    if collate_fn_map is not None:
        fn_map = merged(collate_fn_map)
    if out is not None:
        return collate_into(samples, out, fn_map)
    memory = None if worker._worker_info is None else memory_for_batches()
    return _C.collate(samples, fn_map, None, memory, None, None, None)


def collate_into(
    samples: Any,
    out: Any,
    fn_map: CollateFnMap,
    options_for: OptionsFor | None = None,
    check: Callable[[], None] | None = None,
    *,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    threads: int | None = None,
) -> Any:
    """The batch in the tensors of `out`, wherever they are."""
    refuse_in_worker()
    device = device_of(out)
    is_sent = device.type != "cpu" and _C.can_send_to(device)
    if stream is not None and not is_sent:
        raise ValueError(f"stream: expected None for {device}, got {stream!r}.")
    transfer = (device if is_sent else None, non_blocking, stream, threads)
    if is_sent or device.type == "cpu":
        batch = _C.collate(samples, fn_map, options_for, None, transfer, out, check)
        return send(batch, device, stream, threads, non_blocking=non_blocking) if is_sent else batch
    batch = _C.collate(samples, fn_map, options_for, None, transfer, None, check)
    return copied_into(batch, out)


def default_fn_map() -> dict[Any, CollateFn]:
    """Torch's own functions, and what was added to them."""
    return torch_collate.default_collate_fn_map


def merged(collate_fn_map: CollateFnMap) -> dict[Any, CollateFn]:
    """The functions of a user's in front of torch's: torch takes the first that fits."""
    defaults = torch_collate.default_collate_fn_map
    return {**collate_fn_map, **{k: v for k, v in defaults.items() if k not in collate_fn_map}}


def collate_for_torch(batch: Any, *, collate_fn_map: CollateFnMap | None = None) -> Any:
    """In the place of torch's function of that name, while :func:`install` is in force."""
    fn_map = collate_fn_map
    if fn_map is not None and type(fn_map) is not dict:
        fn_map = dict(fn_map)
    memory = None if worker._worker_info is None else memory_for_batches()
    return _C.collate(batch, fn_map, None, memory, None, None, None)


# ---- for the walk -----------------------------------------------------------------------------


def as_list(samples: Any) -> list[Any]:
    """A batch that is no list or tuple, as one."""
    if isinstance(samples, Mapping) or not hasattr(type(samples), "__getitem__"):
        kind = KeyError if isinstance(samples, Mapping) else TypeError  # as samples[0] in torch
        raise kind(
            f"samples: expected a sequence of samples, got {type(samples).__name__}. Pass a list; "
            "for the arrays of one sample there is convert()."
        )
    return list(samples)


def open_container(
    batch: Sequence[Any], path: Path
) -> tuple[Callable[[Any, Any], Any], Any, tuple[Any, ...] | None, list[Any]]:
    """Mappings and sequences of any type, by torch's rules.

    Returns:
        A function of (the first, children) that makes the result; the first; the keys of a mapping;
        for each key or element the values of all samples.
    """
    first = batch[0]
    if isinstance(first, Mapping):
        keys = tuple(first)
        return with_items, first, keys, [_values_of(batch, key, path) for key in keys]
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        columns = list(zip(*batch, strict=False))
        return lambda model, children: type(model)(*children), first, None, columns
    if isinstance(first, Sequence):
        return with_elements, first, None, _elements_of(batch, path)
    message = torch_collate.default_collate_err_msg_format.format(type(first))
    remedy = _remedy_for_kind(first, path)
    raise TypeError(f"{path_text(0, path)}: {message}{remedy and '.'}{remedy}")


def _values_of(batch: Sequence[Any], key: Any, path: Path) -> list[Any]:
    values = []
    for index, sample in enumerate(batch):
        try:
            values.append(sample[key])
        except KeyError as error:
            place = path_text(index, path)
            raise KeyError(f"{place}: expected the key {key!r}, as in samples[0].") from error
        except TypeError as error:
            raise _unlike_the_first(index, path, "a mapping", sample) from error
    return values


def _elements_of(batch: Sequence[Any], path: Path) -> list[tuple[Any, ...]]:
    length = len(batch[0])
    for index, sample in enumerate(batch):
        try:
            got = len(sample)
        except TypeError as error:
            raise _unlike_the_first(index, path, "a sequence", sample) from error
        if got != length:
            raise RuntimeError(
                f"{path_text(index, path)}: expected {length} elements like samples[0], got "
                f"{got}: each element in list of batch should be of equal size."
            )
    return list(zip(*batch, strict=False))


def _unlike_the_first(index: int, path: Path, what: str, got: Any) -> TypeError:
    return TypeError(
        f"{path_text(index, path)}: expected {what} like samples[0], got {type(got).__name__}."
    )


def by_torch(
    batch: Sequence[Any],
    function: CollateFn | None,
    fn_map: Any,
    refusal: Any,
    path: Path,
    options: tuple[Any, ...] | None,
) -> Any:
    """What torch makes of values that we do not read; its error gets our words, and the place."""
    try:
        if refusal is not None and any(map(is_cut_off, batch)):
            raise TypeError(refusal)  # torch reads past the end of the memory
        if function is None:
            raise TypeError(torch_collate.default_collate_err_msg_format.format(type(batch[0])))
        result = function(batch, collate_fn_map=fn_map)
    except (RuntimeError, TypeError, ValueError) as error:
        if refusal is None:
            raise _with_odd_value(error, batch, path) from error
        raise _like(error, _said_of_samples(refusal, path)) from error
    index = next((i for i, value in enumerate(batch) if np.ma.is_masked(value)), None)
    if index is not None:  # torch takes what lies under the mask
        raise TypeError(
            f"{path_text(index, path)}: expected values that are not masked, got a "
            f"{type(batch[index]).__name__} with some that are. Use array.filled(value)."
        )
    return result if options is None else _with_options(result, *options)


def _with_options(
    batch: torch.Tensor,
    operation: str,
    dtype: torch.dtype | None,
    channel_dim: int | None,
    memory_format: torch.memory_format | None,
    padding: None,
    normalize: tuple[Any, ...] | None,
) -> torch.Tensor:
    """What a place's options make of a stack."""
    if channel_dim is not None:
        batch = batch.movedim(channel_dim + 1 if channel_dim >= 0 else channel_dim, 1)
    if normalize is not None:
        *numbers, order = normalize
        batch = normalized(batch.flip(1) if order == "bgr" else batch, 1, dtype, *numbers)
    elif dtype is not None:
        batch = batch.to(dtype)
    return batch if memory_format is None else batch.contiguous(memory_format=memory_format)


def _like(error: Exception, text: str) -> Exception:
    """An exception of the same type that says something else."""
    try:
        return type(error)(text)
    except Exception:  # a type that is made of something else than its text
        kind = next(k for k in (TypeError, ValueError, RuntimeError) if isinstance(error, k))
        return kind(text)


def _with_odd_value(error: Exception, batch: Sequence[Any], path: Path) -> Exception:
    """The error, with the first value that is not like the first."""
    are_tensors = isinstance(batch[0], torch.Tensor)
    like, what = (torch.Tensor, "a tensor") if are_tensors else (Number, "a number")
    index = next((i for i, value in enumerate(batch) if not isinstance(value, like)), None)
    if index is None:
        return _like(error, f"{path_text(0, path)}: {error}") if path else error
    odd = batch[index]
    remedy = _remedy_for_kind(odd, path)
    if isinstance(odd, str) and any(isinstance(v, float) and v != v for v in batch[:index]):
        remedy = ' A number that is missing text, NaN, may be None or "" instead.'
    elif are_tensors and isinstance(odd, (np.ndarray, Number)):
        remedy = " Let all samples have tensors there: torch.as_tensor(value)."
    return _like(
        error,
        f"{path_text(index, path)}: expected {what} like {path_text(0, path)}, got "
        f"{type(odd).__name__}.{remedy}",
    )


def with_place(refusal: Exception, path: Path) -> Exception:
    """What the native call said of arrays[5], said of samples[5] and the place in it."""
    text = _said_of_samples(refusal, path)
    # An option that does not fit is the place's, not a sample's.
    return type(refusal)(text if text != str(refusal) else f"{path_text(0, path)}: {text}")


def _said_of_samples(error: Exception, path: Path) -> str:
    text = re.sub(r"arrays\[(\d+)\]", lambda match: path_text(int(match[1]), path), str(error))
    for said, remedy in _REMEDIES.items():
        text = re.sub(said, lambda _, remedy=remedy: remedy.format(place_name(path)), text)  # type: ignore[misc]
    return text


def _remedy_for_kind(value: Any, path: Path) -> str:
    """What helps where a value is of a kind of which there are no batches, if that is known."""
    if value is None:
        return " " + _LEFT_OUT.format(place_name(path))
    if type(value).__name__ == "NAType":  # of pandas
        return " Fill in what is missing, by fillna() of pandas for instance, or make it None."
    if isinstance(value, datetime):  # pandas.Timestamp as well
        return " Pass a number, for instance value.timestamp()."
    if isinstance(value, PathLike):
        return " Pass text, str(path)."
    return ""


def remedy_for_lengths(first: Any, other: Any, path: Path) -> str:
    """What helps where lists of numbers have different lengths; nothing for others."""
    if not (_are_numbers(first) and _are_numbers(other)):
        return ""
    return " " + _RAGGED.format(place_name(path)) + "."


def _are_numbers(value: Any) -> bool:
    if type(value) not in (list, tuple):
        return False
    return all(type(item) in (int, float, bool) or _are_numbers(item) for item in value)


_RAGGED = (
    "Use tensorlift.Collate(pad=[{0}]) for a batch of different shapes, or Collate(jagged=[{0}]) "
    "without padding"
)


_LEFT_OUT = 'Leave such samples out, or use tensorlift.Collate(optional={{{0}: "drop"}}).'


# What the functions for lists of arrays advise, and what is the same for a collate_fn.
_REMEDIES = {
    r"Use pad\(\) or jagged\(\) for a batch of different shapes, or cat\(\) to join them": _RAGGED,
    r"use pad\(\) for more": "use tensorlift.Collate(pad=[{}]) for more",
    r"Leave it out of the list\.": _LEFT_OUT,
    r"Pass dtype=torch.int64": "Use tensorlift.Collate(dtype={{{}: torch.int64}})",
}
