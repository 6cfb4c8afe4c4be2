"""Files that a command is to write: checked before it begins, and errors as a sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from .._text import printable
from .errors import CommandError

_PICTURES = (".png", ".svg", ".pdf")


def check_writable(path: Path) -> None:
    """Raises CommandError where nothing can be written."""
    folder = path.parent
    is_writable = os.access(path if path.exists() else folder, os.W_OK)
    if path.is_dir() or not folder.is_dir() or not is_writable:
        raise CommandError(
            f"{printable(path)}: cannot be written: no such folder, or no permission"
        )


def check_plot(path: Path) -> None:
    """As check_writable(), for a picture."""
    check_writable(path)
    if path.suffix.lower() not in _PICTURES:
        name = printable(path)
        raise CommandError(f"{name}: expected a name ending in {', '.join(_PICTURES)}")
    if find_spec("matplotlib") is None:
        raise CommandError("--plot needs matplotlib. Run: pip install matplotlib")


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Within it a file is written; where that fails it is a sentence with its name."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise CommandError(f"{printable(path)}: cannot be written: {reason}") from error
