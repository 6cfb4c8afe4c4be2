"""Why is this loader slow? One of a module of the user's."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from .._data.prefetch import DevicePrefetcher
from .._data.profile.loader import check, profile_loader
from .._data.profile.run import NoBatchError
from .._text import printable
from .errors import CommandError
from .written import check_plot, written


def run(loader: str, *, batches: int, step: str | None, plot: Path | None, as_json: bool) -> str:
    """What `python -m tensorlift profile` prints.

    Args:
        loader: "module:name" of a loader, or of a function without arguments that makes one.
        batches: as for :func:`tensorlift.profile_loader`.
        step: "module:name" of a function of a batch.
        plot: a file for the picture.
        as_json: whether to print JSON.

    Raises:
        CommandError: there is no such module or name, or it is something else; the picture cannot
            be drawn or written. What the user's modules raise is passed on.
    """
    if plot is not None:
        check_plot(plot)
    made = _named(loader)
    if not isinstance(made, (DataLoader, DevicePrefetcher)) and callable(made):
        made = made()
    function = None if step is None else _named(step)
    try:
        check(made, batches, function)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from None
    try:
        report = profile_loader(made, batches, function)
    except NoBatchError as error:
        raise CommandError(str(error)) from None
    if plot is not None:
        with written(plot):
            report.plot(plot)
    return json.dumps(report.as_dict(), indent=2) if as_json else str(report)


def _named(text: str) -> Any:
    """What a module has under a name."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise CommandError(f"expected module:name such as train:loader, got {printable(text)}")
    if module.endswith(".py"):
        raise CommandError(
            f"{printable(text)}: expected the name of a module, not of its file. Pass "
            f"{printable(Path(module).stem)}:{printable(name)} in the folder of that file"
        )
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # one that the user's imports
        raise CommandError(
            f"{printable(text)}: there is no module {printable(module)} here or on PYTHONPATH"
        ) from None
    for part in name.split("."):
        if not hasattr(found, part):
            raise CommandError(
                f"{printable(text)}: the module has no {printable(part)}{_loaders_of(found)}"
            )
        found = getattr(found, part)
    return found


def _loaders_of(module: Any) -> str:
    """What may have been meant."""
    loaders = (DataLoader, DevicePrefetcher)
    names = [name for name, value in vars(module).items() if isinstance(value, loaders)]
    if names:
        return f". Its loaders: {printable(', '.join(names))}"
    return ", nor a loader. Name a function without arguments that makes one"
