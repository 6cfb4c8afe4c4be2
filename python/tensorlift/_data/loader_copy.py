"""A DataLoader like another, but for some of its arguments."""

from __future__ import annotations

import copy
import inspect
from typing import Any

from torch.utils.data import DataLoader, IterableDataset


def with_arguments(loader: Any, arguments: dict[str, Any]) -> Any:
    """A copy of the loader, of its class, with these arguments of torch's DataLoader.

    Only torch's `__init__` runs: what a class of the user's has made of its own arguments stays.

    Raises:
        TypeError: the loader is no DataLoader, or torch's has no such argument.
        ValueError: as torch's DataLoader.
    """
    names = set(inspect.signature(DataLoader.__init__).parameters) - {"self"}
    unknown = next((name for name in arguments if name not in names), None)
    if unknown is not None or not isinstance(loader, DataLoader):
        name = next(iter(arguments)) if unknown is None else unknown
        raise TypeError(
            f"{name}: expected no such argument for a loader of type {type(loader).__name__}, got "
            "one. Arguments of torch's DataLoader are for a loader that is one."
        )
    kept = {name: getattr(loader, name) for name in names - {"shuffle"}}
    for name in _made_by_torch(loader, arguments):
        del kept[name]
    clone = copy.copy(loader)
    vars(clone).update(_DataLoader__initialized=False, _iterator=None)
    DataLoader.__init__(clone, **{**kept, **arguments})
    if not arguments.keys() & _OF_SAMPLING:  # which may be of a class that torch does not make
        vars(clone)["batch_sampler"] = loader.batch_sampler
    return clone


_OF_SAMPLING = {"dataset", "batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"}


def _made_by_torch(loader: DataLoader[Any], arguments: dict[str, Any]) -> set[str]:
    """Attributes that were no arguments, or do not go with those that are given."""
    sampling = {"sampler", "batch_sampler", "batch_size", "drop_last"}
    if isinstance(arguments.get("dataset", loader.dataset), IterableDataset):
        return {"sampler", "batch_sampler"}
    if arguments.get("batch_sampler") is not None:
        return sampling
    if arguments.get("shuffle"):
        return {"sampler", "batch_sampler"}
    if loader.batch_size is not None:
        return {"batch_sampler"}
    return sampling - {"batch_sampler"} if loader.batch_sampler is not None else {"batch_sampler"}
