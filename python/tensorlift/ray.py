"""Ray Data: a collate function for ``iter_torch_batches``, with the options of `Collate`.

This module needs Ray, and is imported only by ``import tensorlift.ray``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from ray.data.collate_fn import ArrowBatchCollateFn

from ._data.collate_options import Collate
from ._ops.batch import Jagged, Padded, PaddedWithMask, cat
from ._ops.convert import from_numpy
from ._typing import Readonly

# Options of Collate that name columns, dtype aside.
_OF_COLUMNS = ("pad", "jagged", "channel_dim", "channels_last", "normalize", "optional")


class CollateFn(ArrowBatchCollateFn):  # type: ignore[misc]
    """Columns of Ray Data to tensors: ``iter_torch_batches(collate_fn=CollateFn(…))``.

    A column of numbers, of tensors of one shape or of lists of one length becomes a tensor over
    Arrow's memory, where that is one piece and keeps its dtype; else it is copied once, cast
    included. Columns that an option names, and lists of different lengths that are to be padded,
    become what :class:`tensorlift.Collate` makes of their rows.

    A batch is a dict of tensors and of nothing else, since that is what Ray pins and sends, with
    ``iter_torch_batches(pin_memory=…, device=…)``: what comes beside a column is a column of its
    own. `pad` makes ``name``, ``name_sizes`` (not with ``Pad(sizes=False)``) and ``name_mask``
    (with ``Pad(mask=True)``); `jagged` makes ``name`` and ``name_offsets``.

    Args:
        readonly: "share" leaves columns in Ray's memory, as Ray's own function does: the tensors
            are for reading only, and who writes to them changes the data of all who read that
            block. With "copy" they have memory of their own.
        options: of :class:`tensorlift.Collate`, but not `out`; a place is the name of a column.
            `dtype` alone is for all columns. With ``pin_memory=True`` a column is written to
            page-locked memory at once, which saves the copy of Ray's argument of that name.

    Null is NaN in a column of numbers, as in Ray, and None for `optional`.

    Raises:
        TypeError: no tensor can be made of a column, of text for instance; or a column has nulls
            and is to be of integers.
        ValueError: an option names what is no column.
        RuntimeError: lists of different lengths, or tensors of different shapes, are named by no
            option.

    Example:
        >>> import pyarrow as pa, tensorlift.ray
        >>> table = pa.table({"x": [0.5, 1.5], "tokens": [[1, 2], [3]]})
        >>> tensorlift.ray.CollateFn(jagged=["tokens"])(table)
        {'x': tensor([0.5000, 1.5000], dtype=torch.float64), 'tokens': tensor([1, 2, 3]), \
'tokens_offsets': tensor([0, 2, 3])}
    """

    readonly: Readonly
    options: Collate

    def __init__(self, *, readonly: Readonly = "share", **options: Any) -> None:
        if readonly not in ("share", "copy"):
            raise ValueError(f'readonly: expected "share" or "copy", got {readonly!r}.')
        if options.get("out") is not None:
            raise ValueError(
                "out: expected None, got tensors. Ray makes batches ahead of those in use, and "
                "each needs memory of its own."
            )
        self.readonly = readonly
        self.options = Collate(**options)

    def __call__(self, batch: pa.Table) -> dict[str, torch.Tensor]:
        """The columns of a table as tensors."""
        columns = {name: _chunks_of(batch[name]) for name in batch.column_names}
        self._check(columns)
        result: dict[str, Any] = dict.fromkeys(columns)
        shared: dict[str, np.ndarray[Any, Any]] = {}
        by_rows: dict[str, list[Any]] = {}
        for name, chunks in columns.items():
            if name in self.options.jagged and all(map(_is_list, chunks)):
                result[name] = self._jagged(name, chunks)
            elif self._is_named(name) or (arrays := _arrays_of(chunks)) is None:
                by_rows[name] = [row for chunk in chunks for row in _rows_of(name, chunk)]
            elif len(arrays) == 1 and self._may_share(name):
                shared[name] = arrays[0]
            else:
                result[name] = self._cat(name, arrays)
        try:
            tensors = from_numpy(shared.values(), readonly=self.readonly)
        except (TypeError, ValueError) as error:
            raise _said_of_columns(error, list(shared)) from error
        result |= zip(shared, tensors, strict=True)
        if by_rows:
            names = tuple(by_rows)
            rows = zip(*by_rows.values(), strict=True)
            result |= self._of_rows(names)([dict(zip(names, row, strict=True)) for row in rows])
        return dict(_flat(result))

    def _check(self, columns: Mapping[str, list[pa.Array]]) -> None:
        """Of names, and of nulls, which no integer stands for."""
        options = self.options
        masks = {getattr(pad, "mask", None) for pad in _values(options.pad)}
        for option in (*_OF_COLUMNS, "dtype"):
            places = getattr(options, option)
            if places is None or isinstance(places, (str, torch.dtype)):
                continue
            known = {*columns, *masks} if option == "dtype" else columns
            if missing := [place for place in places if place not in known]:
                raise ValueError(
                    f"{option}: expected names of columns, got {missing[0]!r}. The columns are: "
                    f"{', '.join(columns)}."
                )
        for name, chunks in columns.items():
            dtype = self._dtype_of(name)
            if dtype is None or dtype.is_floating_point or dtype.is_complex:
                continue
            if self._is_optional(name):
                chunks = [chunk.drop_null() for chunk in chunks]
            if any(map(_has_nulls, chunks)):
                raise TypeError(
                    f"column {name!r}: expected no nulls for {dtype}, got some. Fill them, leave "
                    "them out, or choose a floating-point dtype, where they are NaN."
                )

    def _dtype_of(self, name: str) -> torch.dtype | None:
        dtype = self.options.dtype
        return dtype.get(name) if isinstance(dtype, Mapping) else dtype

    def _is_optional(self, name: str) -> bool:
        return isinstance(self.options.optional, str) or name in self.options.optional

    def _is_named(self, name: str) -> bool:
        """By an option that Collate is for."""
        places = (getattr(self.options, option) for option in _OF_COLUMNS[:-1])
        return self._is_optional(name) or any(name in of_option for of_option in places)

    def _may_share(self, name: str) -> bool:
        is_moved = self.options.pin_memory or self.options.device is not None
        return not is_moved and self._dtype_of(name) is None

    def _cat(self, name: str, arrays: list[np.ndarray[Any, Any]]) -> torch.Tensor:
        options = self.options
        try:
            return cat(
                arrays,
                dtype=self._dtype_of(name),
                pin_memory=options.pin_memory,
                device=options.device,
                non_blocking=options.non_blocking,
                stream=options.stream,
                threads=options.threads,
            )
        except (TypeError, ValueError) as error:
            raise _said_of_columns(error, [name] * len(arrays)) from error

    def _jagged(self, name: str, chunks: list[pa.Array]) -> Jagged:
        """Values and offsets are what Arrow has of such a column."""
        ends = [_offsets_of(chunk) for chunk in chunks]
        arrays = [
            _array_of(chunk.values.slice(offsets[0], offsets[-1] - offsets[0]))
            for chunk, offsets in zip(chunks, ends, strict=True)
        ]
        if any(chunk.null_count for chunk in chunks) or any(array is None for array in arrays):
            raise TypeError(
                f"column {name!r}: expected lists of numbers, got {chunks[0].type} with nulls or "
                "of something else. Leave such rows out."
            )
        if len(arrays) == 1 and self._may_share(name):
            (values,) = from_numpy(arrays, readonly=self.readonly)  # type: ignore[arg-type]
        else:
            values = self._cat(name, arrays)  # type: ignore[arg-type]
        lengths = np.concatenate([np.diff(offsets) for offsets in ends])
        offsets = torch.zeros(len(lengths) + 1, dtype=torch.int64)
        torch.cumsum(torch.from_numpy(lengths), 0, out=offsets[1:])
        jagged = self.options.jagged
        dtype = jagged[name] if isinstance(jagged, Mapping) else torch.int64
        offsets = offsets.to(values.device, dtype)
        return Jagged(values, offsets.pin_memory() if self.options.pin_memory else offsets)

    def _of_rows(self, names: Collection[str]) -> Collate:
        """The options without what is said of other columns, which Collate would not find."""
        dtype = self.options.dtype
        others = {name: _without_others(getattr(self.options, name), names) for name in _OF_COLUMNS}
        if isinstance(dtype, Mapping):
            masks = {pad.mask for pad in _values(self.options.pad) if hasattr(pad, "mask")}
            others["dtype"] = {k: v for k, v in dtype.items() if k in names or k in masks}
        return replace(self.options, **others)


def _values(places: Any) -> Collection[Any]:
    return places.values() if isinstance(places, Mapping) else ()


def _without_others(places: Any, names: Collection[str]) -> Any:
    if isinstance(places, Mapping):
        return {place: value for place, value in places.items() if place in names}
    return places if isinstance(places, str) else [place for place in places if place in names]


def _chunks_of(column: pa.ChunkedArray) -> list[pa.Array]:
    chunks = [chunk for chunk in column.chunks if len(chunk) > 0]
    return chunks or [column.combine_chunks()]


def _is_list(array: pa.Array) -> bool:
    return bool(pa.types.is_list(array.type) or pa.types.is_large_list(array.type))


def _has_nulls(array: pa.Array) -> bool:
    return bool(array.null_count or (_is_list(array) and array.flatten().null_count))


def _offsets_of(array: pa.Array) -> np.ndarray[Any, Any]:
    return array.offsets.to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _arrays_of(chunks: list[pa.Array]) -> list[np.ndarray[Any, Any]] | None:
    """An array for each chunk, whose first dimension is that of the rows; None if it has none."""
    arrays = [_array_of(chunk) for chunk in chunks]
    if any(array is None or array.shape[1:] != arrays[0].shape[1:] for array in arrays):  # type: ignore[union-attr]
        return None
    return arrays  # type: ignore[return-value]


def _array_of(array: pa.Array) -> np.ndarray[Any, Any] | None:
    """Over Arrow's memory, where that has the numbers as NumPy has them."""
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan, np.float32)  # as Ray does
    if hasattr(array, "to_numpy_ndarray"):  # tensors of one shape: pyarrow's, and Ray's
        return array.to_numpy_ndarray()  # type: ignore[no-any-return]
    if pa.types.is_primitive(kind):
        return array.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    if array.null_count:
        return None
    if pa.types.is_fixed_size_list(kind):
        values = _array_of(array.flatten())
        return None if values is None else values.reshape(len(array), -1, *values.shape[1:])
    if _is_list(array):
        offsets = _offsets_of(array)
        lengths = np.diff(offsets)
        if len(lengths) == 0 or (lengths != lengths[0]).any():
            return None
        values = _array_of(array.values.slice(offsets[0], offsets[-1] - offsets[0]))
        shape = (len(array), int(lengths[0]))
        return None if values is None else values.reshape(*shape, *values.shape[1:])
    return None


def _rows_of(name: str, array: pa.Array) -> list[Any]:
    """Of one value each; None where that is null."""
    if pa.types.is_primitive(array.type) and array.null_count:
        values = _array_of(array.drop_null())
        return _with_gaps(array, [] if values is None else list(values))
    if (values := _array_of(array)) is not None:
        return list(values)
    if _is_list(array):
        offsets = _offsets_of(array)
        values = _array_of(array.values)
        if values is not None:
            return _emptied(array, [values[begin:end] for begin, end in pairwise(offsets)])
    if isinstance(array, pa.ExtensionArray):  # Ray's, of tensors of different shapes
        return _emptied(array, list(array.to_numpy(zero_copy_only=False)))
    raise TypeError(
        f"column {name!r}: expected numbers, tensors or lists of numbers, got {array.type}. Leave "
        f"it out: dataset.drop_columns([{name!r}])."
    )


def _with_gaps(array: pa.Array, values: list[Any]) -> list[Any]:
    found = iter(values)
    return [next(found) if is_there else None for is_there in array.is_valid().to_pylist()]


def _emptied(array: pa.Array, rows: list[Any]) -> list[Any]:
    if not array.null_count:
        return rows
    there = array.is_valid().to_pylist()
    return [row if is_there else None for row, is_there in zip(rows, there, strict=True)]


def _flat(batch: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Without named tuples, whose tensors Ray would join to one."""
    names = {Jagged: ("offsets",), Padded: ("sizes",), PaddedWithMask: ("sizes", "mask")}
    items: list[tuple[str, Any]] = []
    for name, value in batch.items():
        if type(value) not in names:
            items.append((name, value))
            continue
        first, *others = value
        items.append((name, first))
        for suffix, other in zip(names[type(value)], others, strict=True):
            if f"{name}_{suffix}" in batch:
                raise ValueError(
                    f"{name!r}: expected no column {name}_{suffix}, which its {suffix} become, got "
                    "one. Rename it."
                )
            items.append((f"{name}_{suffix}", other))
    return items


def _said_of_columns(error: Exception, names: list[str]) -> Exception:
    """The error, with the name of a column in the place of an index."""
    place, colon, said = str(error).partition(": ")
    index = place.removeprefix("arrays[").removesuffix("]")
    if not colon or not index.isdecimal():
        return error
    return type(error)(f"column {names[int(index)]!r}: {said}")
