"""Trees of arrays to trees of tensors: all leaves in one native call."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
import torch

from .. import _C
from .._torch_internals import has_function_modes, tensors_are_plain
from .._typing import Device, Readonly
from .tree import PLAIN_LEAVES, leaves_of, map_leaves, path_text

F = TypeVar("F", bound=Callable[..., Any])

_NEVER_CONVERTED = PLAIN_LEAVES - {np.ndarray}
_TEXT_AND_OBJECTS = "SUOT"  # kinds of dtypes that default_convert leaves alone


def _without_options(function: F) -> F:
    """Does not look up the defaults of keyword-only arguments, where a call has none of those.

    Python does so for each of them, which takes longer than to see that a tensor is no array.
    """
    defaults = tuple((function.__kwdefaults__ or {}).values())

    @wraps(function)
    def convert(tree: Any, /, **options: Any) -> Any:
        if options:
            return function(tree, **options)
        if type(tree) in _NEVER_CONVERTED:
            return tree
        return _convert(tree, defaults)

    return cast(F, convert)


@_without_options
def convert(
    tree: Any,
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
) -> Any:
    """The same tree with tensors in the place of its arrays.

    Mappings, named tuples, sequences, dataclasses and other records keep their structure, as in
    :func:`torch.utils.data.default_convert` (where a plain tuple becomes a list); tensors,
    TensorDicts, numbers, text and everything else stay as they are, and so do arrays of text or
    objects, masked arrays and other subclasses of arrays. All arrays are converted by one call of
    :func:`from_numpy`, whose options these are: shared where they can be. Without `device` they go
    to torch's default device (:func:`torch.set_default_device`).

    Args:
        tree: any object.
        dtype: as for :func:`from_numpy`; for all arrays.
        device: as for :func:`from_numpy`. Tensors of the tree are not moved.
        copy: as for :func:`from_numpy`.
        readonly: as for :func:`from_numpy`.
        pin_memory: as for :func:`from_numpy`.
        non_blocking: as for :func:`from_numpy`.
        stream: as for :func:`from_numpy`.
        pack: as for :func:`from_numpy`.
        threads: as for :func:`from_numpy`.

    Returns:
        A new tree. A record is copied and gets its fields set.

    Raises:
        TypeError: as for :func:`from_numpy`, with the place: ``data["x"][0]``.
        ValueError: as for :func:`from_numpy`, with the place.
        RuntimeError: as for :func:`from_numpy`.

    Example:
        >>> import numpy as np, tensorlift
        >>> tensorlift.convert({"x": np.array([1, 2]), "name": "a"})
        {'x': tensor([1, 2]), 'name': 'a'}
    """
    options = (dtype, device, copy, readonly, pin_memory, non_blocking, stream, pack, threads)
    return _convert(tree, options)


def _convert(tree: Any, options: tuple[Any, ...]) -> Any:
    if type(tree) in _NEVER_CONVERTED:
        return tree
    if options[1] is None and has_function_modes() and not tensors_are_plain():
        return replace_leaves(
            tree, is_convertible, lambda leaves: _as_torch_likes(_C.from_numpy(leaves, *options))
        )
    try:
        converted = _C.convert(tree, *options)
    except (TypeError, ValueError):
        converted = NotImplemented  # raised below, with its place
    if converted is not NotImplemented:
        return converted
    return replace_leaves(tree, is_convertible, lambda leaves: _C.from_numpy(leaves, *options))


def _as_torch_likes(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """On the default device, say."""
    return [torch.as_tensor(tensor) for tensor in tensors]


def replace_leaves(
    tree: Any,
    is_wanted: Callable[[Any], bool],
    convert_all: Callable[[list[Any]], list[torch.Tensor]],
    *,
    keep: bool = False,
) -> Any:
    """The tree with converted leaves. Calls convert_all once, with all that are wanted, if any.

    `keep`: as for map_leaves().
    """
    try:
        return _replace_leaves(tree, is_wanted, convert_all, keep=keep)
    except (TypeError, ValueError) as error:
        place = re.match(r"arrays\[(\d+)\]", str(error))
        if place is None:
            raise
        paths = [path for path, leaf in leaves_of(tree) if is_wanted(leaf)]
        path = path_text(None, paths[int(place[1])])
        raise type(error)(path + str(error)[place.end() :]) from error


def _replace_leaves(
    tree: Any,
    is_wanted: Callable[[Any], bool],
    convert_all: Callable[[list[Any]], list[torch.Tensor]],
    *,
    keep: bool,
) -> Any:
    """In two walks, so that each container is made once."""
    # Asked once: whether a tensor is pinned can change while others are sent.
    are_wanted = [(is_wanted(leaf), leaf) for _, leaf in leaves_of(tree)]
    leaves = [leaf for wanted, leaf in are_wanted if wanted]
    if not leaves:
        return map_leaves(lambda leaf: leaf, tree, keep=keep)
    tensors = iter(convert_all(leaves))
    wanted = iter(are_wanted)

    def replaced(leaf: Any) -> Any:
        return next(tensors) if next(wanted)[0] else leaf

    return map_leaves(replaced, tree, keep=keep)


def is_convertible(leaf: Any) -> bool:
    """Whether it is an array or a scalar that default_convert makes a tensor of, or ml_dtypes'.

    That leaves subclasses of other packages and masked arrays as they are, and arrays of text or
    objects.
    """
    if isinstance(leaf, np.ndarray):
        of_numpy = type(leaf).__module__ == "numpy"  # torch's rule
        return of_numpy and leaf.dtype.kind not in _TEXT_AND_OBJECTS
    if not isinstance(leaf, np.generic) or isinstance(leaf, (np.flexible, np.object_)):
        return False
    return type(leaf).__module__ == "numpy" or _has_torch_dtype(leaf)


def _has_torch_dtype(scalar: np.generic) -> bool:
    """Whether torch has the dtype of another package's scalar."""
    ((action, *_),) = _C.explain([scalar], None, None, "share")
    return action != "rejected"
