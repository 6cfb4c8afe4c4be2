"""Says in one sentence that the native module was compiled for another torch.

Without it a user would meet `undefined symbol: _ZN3c10…`, or a crash.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import mmap
from pathlib import Path

import torch

from .reinstall import reinstall_command

_MARK = b"TENSORLIFT_BUILT_FOR_TORCH="


def _torch_of(library: Path) -> str:
    """The torch version that `library` carries in its read-only data."""
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begin = data.find(_MARK)
        if begin < 0:
            return "an unknown version"
        begin += len(_MARK)
        return data[begin : data.find(b"\0", begin)].decode()


def load_native(package: str, folder: Path, installed: str = torch.__version__) -> None:
    """Imports `<package>._C` from `folder`.

    Args:
        package: name of the package that the native module belongs to.
        folder: the package's folder.
        installed: version of the torch that is imported.

    Raises:
        ImportError: the native module is missing, was compiled for another minor version of torch,
            or does not load.
    """
    library = folder / f"_C{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    if not library.exists():
        others = sorted(path.name for path in folder.glob("_C*.so")) or "none"
        raise ImportError(
            f"tensorlift: expected the native module {library.name} for this Python, "
            f"found {others}. {reinstall_command()}"
        )
    built = _torch_of(library)
    if built.split(".")[:2] != installed.split(".")[:2]:
        raise ImportError(
            f"tensorlift was compiled for torch {built}, and torch {installed} is installed. "
            f"{reinstall_command()}"
        )
    try:
        importlib.import_module(f"{package}._C")
    except ImportError as error:  # the same version, built with other options
        raise ImportError(
            f"tensorlift was compiled for torch {built} and does not load with the torch "
            f"{installed} that is installed: {error}. {reinstall_command()}"
        ) from error
