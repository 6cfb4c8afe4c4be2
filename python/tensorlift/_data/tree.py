"""Samples are trees: which nodes they have, how a node is made again with other children."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

Path = tuple[Any, ...]


def path_text(index: int | None, path: Path) -> str:
    """`samples[5]["image"][0].x`: where a value stands."""
    steps = [f".{step!s}" if isinstance(step, Attribute) else f"[{_quoted(step)}]" for step in path]
    root = "data" if index is None else f"samples[{index}]"
    return root + "".join(steps)


class Attribute(str):
    """A step to a field of a namedtuple or record: its name."""

    __slots__ = ()


def place_name(path: Path) -> str:
    """How an option names the place, as Python code: its last step where that tells it apart."""
    last = path[-1] if path else None
    if isinstance(last, str):
        text = str(last)
        is_plain = text.isprintable() and '"' not in text and "\\" not in text
        return f'"{text}"' if is_plain else repr(text)
    steps = tuple(str(step) if isinstance(step, Attribute) else step for step in path)
    return repr(last) if len(path) == 1 else repr(steps)


def _quoted(key: Any) -> str:
    return f'"{key}"' if isinstance(key, str) else repr(key)


def is_namedtuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def fields_of(kind: type) -> tuple[str, ...] | None:
    """The fields of a record: a dataclass, a class of attrs or a model of pydantic; else None."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    if hasattr(kind, "__attrs_attrs__"):
        return tuple(field.name for field in kind.__attrs_attrs__)
    if hasattr(kind, "__pydantic_fields__"):
        return tuple(kind.__pydantic_fields__)
    return None


def with_items(node: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    """A mapping like `node`, or a dict where its type cannot be made like that; torch's rule."""
    try:
        if isinstance(node, MutableMapping):
            clone = copy.copy(node)
            clone.update(items)
            return clone
        return type(node)(items)  # type: ignore[call-arg]
    except TypeError:
        return items


def with_elements(node: Sequence[Any], elements: list[Any]) -> Any:
    """A sequence like `node`; a list for a tuple, or where it cannot be made; torch's rule."""
    if isinstance(node, tuple):
        return elements
    try:
        if isinstance(node, MutableSequence):
            clone = copy.copy(node)
            for i, element in enumerate(elements):
                clone[i] = element
            return clone
        return type(node)(elements)  # type: ignore[call-arg]
    except TypeError:
        return elements


def with_fields(node: Any, fields: dict[str, Any]) -> Any:
    """A record like `node`: neither its `__init__` is called nor is anything validated."""
    clone = copy.copy(node)
    for name, value in fields.items():
        object.__setattr__(clone, name, value)  # frozen ones, too
    return clone


def map_leaves(function: Callable[[Any], Any], tree: Any, *, keep: bool = False) -> Any:
    """The tree with function(leaf) in the place of each leaf; nodes as torch's default_convert.

    That makes lists of tuples, and calls `update` of mappings. With `keep` tuples stay tuples, and
    of containers other than dicts, lists and tuples those whose leaves stay are passed on.
    """
    # No closure that calls itself: it would be a cycle, and keep what it knows until a collection.
    kind = type(tree)
    if kind is dict:
        return {key: map_leaves(function, child, keep=keep) for key, child in tree.items()}
    if kind is list:
        return [map_leaves(function, child, keep=keep) for child in tree]
    if kind in PLAIN_LEAVES or hasattr(kind, "__torch_function__"):
        return function(tree)  # also a TensorDict, which is a mapping of another kind
    if isinstance(tree, Mapping):
        items = {key: map_leaves(function, tree[key], keep=keep) for key in tree}
        is_kept = keep and all(items[key] is tree[key] for key in items)
        return tree if is_kept else with_items(tree, items)
    if isinstance(tree, Sequence) and not isinstance(tree, (str, bytes)):
        elements = [map_leaves(function, child, keep=keep) for child in tree]
        if isinstance(tree, PackedSequence):
            elements[1] = tree.batch_sizes  # which torch wants on the CPU, always
        if keep and all(new is old for new, old in zip(elements, tree, strict=True)):
            return tree
        if is_namedtuple(tree):
            return kind(*elements)
        is_tuple = keep and isinstance(tree, tuple)
        return tuple(elements) if is_tuple else with_elements(tree, elements)
    names = fields_of(kind)
    if names is not None:
        fields = {n: map_leaves(function, getattr(tree, n), keep=keep) for n in names}
        is_kept = keep and all(fields[name] is getattr(tree, name) for name in names)
        return tree if is_kept else with_fields(tree, fields)
    return function(tree)


def leaves_of(tree: Any) -> Iterator[tuple[Path, Any]]:
    """The leaves and where they stand, in the order of map_leaves()."""

    def walk(node: Any, path: Path) -> Iterator[tuple[Path, Any]]:
        kind = type(node)
        if kind in PLAIN_LEAVES or hasattr(kind, "__torch_function__"):
            yield path, node
        elif isinstance(node, Mapping):
            for key in node:
                yield from walk(node[key], (*path, key))
        elif is_namedtuple(node):
            for name, child in zip(kind._fields, node, strict=True):
                yield from walk(child, (*path, Attribute(name)))
        elif isinstance(node, Sequence) and not isinstance(node, (str, bytes)):
            for i, child in enumerate(node):
                yield from walk(child, (*path, i))
        elif (names := fields_of(kind)) is not None:
            for name in names:
                yield from walk(getattr(node, name), (*path, Attribute(name)))
        else:
            yield path, node

    return walk(tree, ())


# The most frequent leaves, which need not be asked whether they are something else.
PLAIN_LEAVES = {np.ndarray, torch.Tensor, str, bytes, int, float, bool, type(None)}
