"""Arrays from files, for the command line. Nothing is ever unpickled: that could run code."""

from __future__ import annotations

import errno
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ._errors import CommandError

Array = npt.NDArray[Any]

_OBJECTS = (
    "holds Python objects, which only pickle could load; it is not used, since it can run code. "
    "Save the array with a dtype of numbers"
)


def load(paths: Sequence[str]) -> list[tuple[str, Array]]:
    """Reads .npy and .npz files.

    Args:
        paths: the files.

    Returns:
        (name, array) of every array in them; .npy files are memory-mapped.

    Raises:
        CommandError: a file cannot be read, or needs unpickling.
    """
    arrays: list[tuple[str, Array]] = []
    for path in paths:
        try:
            arrays += _load_one(path)
        except CommandError:
            raise
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror or error}") from error
        except Exception as error:  # a file can be broken in more ways than NumPy has errors for
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise CommandError(f"{path}: cannot be read: {reason}") from error
    if not arrays:
        raise CommandError(f"{', '.join(paths)}: there is no array in it")
    return arrays


def _load_one(path: str) -> Iterator[tuple[str, Array]]:
    with open(path, "rb") as file:
        if file.read(2) == b"PK":  # how every zip file begins, whatever its name
            yield from _load_members(path, file)
            return
        file.seek(0)
        if _has_objects(path, file):
            raise CommandError(f"{path}: {_OBJECTS}")
        if file.tell() == Path(path).stat().st_size:  # an array without elements
            file.seek(0)
            yield path, np.lib.format.read_array(file, allow_pickle=False)
            return
    try:
        array = np.lib.format.open_memmap(path, mode="c")  # writeable, as what np.load gives
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        array = np.lib.format.open_memmap(path, mode="r")  # larger than memory
    yield path, array


def _load_members(path: str, file: IO[bytes]) -> Iterator[tuple[str, Array]]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            name = f"{path}:{member.removesuffix('.npy')}"
            with archive.open(member) as content:
                if _has_objects(name, content):
                    raise CommandError(f"{name}: {_OBJECTS}")
            with archive.open(member) as content:
                yield name, np.lib.format.read_array(content, allow_pickle=False)


def _has_objects(name: str, file: IO[bytes]) -> bool:
    """Reads the header of an array; the file is then at the elements."""
    try:
        version = np.lib.format.read_magic(file)
    except ValueError:
        raise CommandError(f"{name}: is no array in a format of NumPy (.npy, .npz)") from None
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    _, _, dtype = read(file)
    return dtype.hasobject
