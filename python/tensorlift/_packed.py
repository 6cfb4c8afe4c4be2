"""A batch in one segment of shared memory, on its way out of a data loader's worker.

torch pickles every tensor on its own: a file descriptor and a mapping each, even where several lie
in one storage. The batch that `collate` returns in a worker is an ordinary dict or list in every
other way, but it pickles as its memory and the places in it, and unpickles as a plain dict or list.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ._tree import map_leaves


class _Place(NamedTuple):
    """A tensor in the memory of the batch; in the leaf's place while it is pickled."""

    dtype: torch.dtype
    offset: int  # elements
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Leaf:
    """Keeps a _Place, which is a tuple, from being taken for a part of the tree."""

    __slots__ = ("place",)

    def __init__(self, place: _Place) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return _Leaf, (self.place,)


def _unpack(storage: torch.Tensor, tree: Any) -> Any:
    memory = storage.untyped_storage()

    def tensor(leaf: Any) -> Any:
        if not isinstance(leaf, _Leaf):
            return leaf
        dtype, offset, shape, stride = leaf.place
        return torch.empty(0, dtype=dtype).set_(memory, offset, shape, stride)

    return map_leaves(tensor, tree, keep_tuples=True)


def _reduce(batch: Any, memory: torch.UntypedStorage, plain: Any) -> Any:
    """How a batch whose contents are `plain`, perhaps changed since, is pickled."""
    address = memory.data_ptr()

    def place(leaf: Any) -> Any:
        if type(leaf) is not torch.Tensor or leaf.requires_grad or leaf.device.type != "cpu":
            return leaf
        if leaf.layout != torch.strided or leaf.untyped_storage().data_ptr() != address:
            return leaf
        return _Leaf(
            _Place(leaf.dtype, int(leaf.storage_offset()), tuple(leaf.shape), leaf.stride())
        )

    whole = torch.empty(0, dtype=torch.uint8).set_(memory)
    return _unpack, (whole, map_leaves(place, plain, keep_tuples=True))


class PackedDict(dict[Any, Any]):
    __slots__ = ("memory",)
    memory: torch.UntypedStorage

    def __reduce__(self) -> Any:
        return _reduce(self, self.memory, dict(self))


class PackedList(list[Any]):
    __slots__ = ("memory",)
    memory: torch.UntypedStorage

    def __reduce__(self) -> Any:
        return _reduce(self, self.memory, list(self))


def packed(batch: Any, memory: torch.UntypedStorage) -> Any:
    """The batch, as an object that pickles as one segment, where its root is a dict or a list."""
    result: PackedDict | PackedList
    if type(batch) is dict:
        result = PackedDict(batch)
    elif type(batch) is list:
        result = PackedList(batch)
    else:
        return batch
    result.memory = memory
    return result
