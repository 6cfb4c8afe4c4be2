"""Samples to batches: torch.utils.data.default_collate, with one native call for all arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import torch
from torch.utils.data._utils import collate as torch_collate

from . import _C
from ._batch import Jagged, Padded
from ._collate_leaves import (
    NATIVE,
    NUMBERS,
    OF_SCALARS,
    OF_TENSORS,
    ORIGINALS,
    STACKED,
    CollateFn,
    CollateFnMap,
    all_plain_tensors,
    collate_alike,
    collate_by_torch,
    named,
    numbers_as_array,
    scalars_as_array,
    share_numbers,
)
from ._shared import Memory, memory_for_batches
from ._tree import (
    Attribute,
    Path,
    fields_of,
    is_dataclass,
    is_namedtuple,
    path_text,
    with_elements,
    with_fields,
    with_items,
)
from ._typing import Number


def collate(samples: Sequence[Any], /, *, collate_fn_map: CollateFnMap | None = None) -> Any:
    """Joins samples to a batch, as :func:`torch.utils.data.default_collate` does, but faster.

    Arrays, NumPy scalars, numbers and CPU tensors that stand in the same place of every sample
    become one tensor with a new first dimension; text becomes a list; mappings, named tuples,
    sequences and dataclasses keep their structure. All arrays of the batch are copied by one native
    call, exactly once; in a worker of a :class:`torch.utils.data.DataLoader` to shared memory, from
    which the main process reads them in place, and which is used again when it has no tensor there
    any more.

    Args:
        samples: at least one, all of the same structure. A tuple becomes a list, as in torch.
        collate_fn_map: functions for types of your own, as for
            :func:`torch.utils.data._utils.collate.collate`: each is called with a list of values
            and ``collate_fn_map=``. They come before torch's own, which are in
            ``torch.utils.data._utils.collate.default_collate_fn_map`` (whatever was added there
            counts as well).

    Returns:
        The batch: what torch gives. A dataclass is copied and gets its fields set: neither
        `__init__` nor `__post_init__` runs.

    Raises:
        TypeError: a value is of no type that can be joined, or its dtype has no torch counterpart.
        RuntimeError: values that stand in the same place differ in shape or length.
        KeyError: a key of the first sample is missing in another.

    An error of a value names its place, for instance ``samples[5]["image"]``; its type is torch's.

    Example:
        >>> import numpy as np, tensorlift
        >>> samples = [{"image": np.full((2, 2), i), "label": i} for i in range(3)]
        >>> batch = tensorlift.collate(samples)
        >>> batch["image"].shape, batch["label"]
        (torch.Size([3, 2, 2]), tensor([0, 1, 2]))
    """
    return collate_with(samples, collate_fn_map, None, Destination(memory_for_batches()))


class Way(NamedTuple):
    """How the arrays of one place are joined: arguments of stack, pad or jagged."""

    operation: Literal["stack", "pad", "jagged"] = "stack"
    dtype: torch.dtype | None = None
    value: Number = 0
    channel_dim: int | None = None
    memory_format: torch.memory_format | None = None


@dataclass(frozen=True)
class Destination:
    """Where batches go: the device, if there is one, else memory of the host."""

    memory: Memory | Literal["pinned"]
    device: torch.device | None = None


def collate_with(
    samples: Sequence[Any],
    fn_map: CollateFnMap | None,
    way_for: Callable[[Path], Way | None] | None,
    destination: Destination,
) -> Any:
    """:func:`collate` with a way for some places. What torch collates is not brought anywhere."""
    if isinstance(samples, Mapping) or not hasattr(type(samples), "__getitem__"):
        raise TypeError(
            f"samples: expected a sequence of samples, got {type(samples).__name__}. Pass a list; "
            "for the arrays of one sample there is convert()."
        )
    if len(samples) == 0:
        raise ValueError("samples: expected at least one sample, got none.")
    walk = _Walk(fn_map, way_for, destination)
    structure = walk.read(samples, ())
    walk.join()
    return walk.rebuild(structure)


def _with_place(error: Exception, path: Path) -> Exception:
    text = named(error, path)
    place = path_text(0, path)  # an option that does not fit is the place's, not a sample's
    return type(error)(text if text != str(error) else f"{place}: {text}")


class _Column:
    """Stands for the result of a column until it is joined."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class _Node:
    """Stands for a container whose children hold columns."""

    __slots__ = ("children", "make", "model")

    def __init__(self, make: Callable[[Any, Any], Any], model: Any, children: Any) -> None:
        self.make = make
        self.model = model
        self.children = children  # a dict or a list


class _Walk:
    """Reads samples, joins all columns at once, and builds the batch."""

    def __init__(
        self,
        fn_map: CollateFnMap | None,
        way_for: Callable[[Path], Way | None] | None,
        destination: Destination,
    ) -> None:
        self.way_for = way_for
        self.fn_map = torch_collate.default_collate_fn_map
        if fn_map:  # in front: torch takes the first that fits
            self.fn_map = fn_map | {k: v for k, v in self.fn_map.items() if k not in fn_map}
        self.functions: dict[type, CollateFn | None] = {}
        self.columns: list[Any] = []
        self.ways: list[Way | None] = []
        self.origins: list[tuple[CollateFn, Path]] = []
        self.results: list[Any] = []
        self.memory = destination.memory
        self.device = destination.device
        self.is_together = self.memory != "own" or self.device is not None

    def read(self, batch: Sequence[Any], path: Path) -> Any:
        first = batch[0]
        kind = type(first)
        function = self._function_for(first)
        if function is not None:
            return self._leaf(function, batch, path)
        if isinstance(first, Mapping):
            keys = list(first)
            columns = self._columns_of(batch, keys, path)
            return _Node(
                with_items,
                first,
                {
                    key: self._read_tuple(column, (*path, key))
                    for key, column in zip(keys, columns, strict=True)
                },
            )
        if is_namedtuple(first):
            columns = zip(*batch, strict=False)
            names = kind._fields
            fields = [
                self.read(column, (*path, Attribute("." + name)))
                for name, column in zip(names, columns, strict=False)
            ]
            return _Node(lambda model, children: type(model)(*children), first, fields)
        if isinstance(first, Sequence):
            self._check_lengths(batch, path)
            elements = [
                self.read(column, (*path, i)) for i, column in enumerate(zip(*batch, strict=True))
            ]
            return _Node(with_elements, first, elements)
        if is_dataclass(first):
            values = {
                name: self.read(
                    [getattr(sample, name) for sample in batch], (*path, Attribute("." + name))
                )
                for name in fields_of(first)
            }
            return _Node(with_fields, first, values)
        message = torch_collate.default_collate_err_msg_format.format(kind)
        raise TypeError(f"{path_text(0, path)}: {message}")

    def _read_tuple(self, column: tuple[Any, ...], path: Path) -> Any:
        """A column of mappings' values: whoever is not us gets it as a list, as from torch."""
        function = self._function_for(column[0])
        if function is not None and function in NATIVE:
            return self._leaf(function, column, path)
        return self.read(list(column), path)

    def join(self) -> None:
        """All columns that are to lie together."""
        if not self.columns:
            return
        results = _C.join_columns(self.columns, self.ways, self.memory, self.device)
        self.results = [
            self._result(column, way, *origin, result)
            for column, way, origin, result in zip(
                self.columns, self.ways, self.origins, results, strict=True
            )
        ]

    def rebuild(self, structure: Any) -> Any:
        if type(structure) is _Column:
            return self.results[structure.index]
        if type(structure) is not _Node:
            return structure  # a finished result
        children = structure.children
        if isinstance(children, dict):
            made: Any = {key: self.rebuild(child) for key, child in children.items()}
        else:
            made = [self.rebuild(child) for child in children]
        return structure.make(structure.model, made)

    def _function_for(self, value: Any) -> CollateFn | None:
        """By torch's rule: by the exact type, else the first that it is an instance of."""
        kind = type(value)
        if kind not in self.functions:
            fitting = (f for types, f in self.fn_map.items() if isinstance(value, types))
            self.functions[kind] = self.fn_map.get(kind) or next(fitting, None)
        return self.functions[kind]

    def _leaf(self, function: CollateFn, batch: Sequence[Any], path: Path) -> Any:
        if function in STACKED:
            original = ORIGINALS.get(function, function)
            way = None if self.way_for is None else self.way_for(path)
            if way is not None:
                return self._column(batch, way, original, path)
            if function in OF_TENSORS and not all_plain_tensors(batch):
                return collate_alike(batch, original, self.fn_map, path)
            if function in OF_SCALARS and (numbers := scalars_as_array(batch)) is not None:
                return self._numbers(numbers, path)
            return self._column(batch, None, original, path)
        if function in NUMBERS:
            numbers = numbers_as_array(batch)
            if numbers is not None:
                return self._numbers(numbers, path)
            return collate_alike(batch, function, self.fn_map, path)
        return function(batch, collate_fn_map=self.fn_map)

    def _numbers(self, numbers: Any, path: Path) -> Any:
        if not self.is_together:
            return share_numbers(numbers)
        return self._column(numbers, None, torch_collate.collate_numpy_array_fn, path)

    def _column(self, batch: Any, way: Way | None, original: CollateFn, path: Path) -> Any:
        if not self.is_together:  # at once, while the arrays' headers are in the caches
            (result,) = _C.join_columns([batch], [way], self.memory, None)
            return self._result(batch, way, original, path, result)
        self.columns.append(batch)
        self.ways.append(way)
        self.origins.append((original, path))
        return _Column(len(self.columns) - 1)

    def _result(
        self, batch: Any, way: Way | None, original: CollateFn, path: Path, result: Any
    ) -> Any:
        """Of a column, from what the native call says of it."""
        if isinstance(result, torch.Tensor):
            return result
        if isinstance(result, tuple):
            return (
                Padded(*result) if way is not None and way.operation == "pad" else Jagged(*result)
            )
        if way is not None:  # which torch's function does not know
            raise _with_place(result, path) from result
        return collate_by_torch(batch, original, self.fn_map, result, path)

    @staticmethod
    def _columns_of(batch: Sequence[Any], keys: list[Any], path: Path) -> Iterable[Any]:
        """For each key the values of all samples."""
        try:
            if len(keys) == 1:
                return [tuple([sample[keys[0]] for sample in batch])]
            # In two steps: zip(*map(…)) leaks where map raises, up to CPython 3.11 at least.
            rows = list(map(itemgetter(*keys), batch)) if keys else []
            return zip(*rows, strict=True)
        except KeyError as error:
            for index, sample in enumerate(batch):
                for key in keys:
                    if key not in sample:
                        place = path_text(index, path)
                        message = f"{place}: expected the key {key!r}, as in samples[0]."
                        raise KeyError(message) from error
            raise

    @staticmethod
    def _check_lengths(batch: Sequence[Any], path: Path) -> None:
        length = len(batch[0])
        for index, sample in enumerate(batch):
            if len(sample) != length:
                raise RuntimeError(
                    f"{path_text(index, path)}: expected {length} elements like samples[0], got "
                    f"{len(sample)}: each element in list of batch should be of equal size."
                )
