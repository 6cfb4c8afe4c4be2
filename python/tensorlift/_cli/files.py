"""Arrays from files, for the command line. Nothing is ever unpickled: that could run code."""

from __future__ import annotations

import errno
import io
import itertools
import math
import operator
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._text import printable
from .errors import CommandError

Array = npt.NDArray[Any]

_OBJECTS = (
    "holds Python objects, which only pickle could load; it is not used, since it can run code. "
    "Save the array with a dtype of numbers"
)
_COMPRESSION = (
    "is compressed in a way that NumPy does not write. Save the array with np.savez_compressed"
)
# NumPy reads as many bytes as a header says that it has, up to 4 GiB, and then takes no more than
# 10,000 of them.
_MAX_HEADER = 1 << 16


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    nbytes: int  # of the header itself

    @property
    def nbytes_of_elements(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def load(paths: Sequence[str], *, elements: bool = True) -> list[tuple[str, Array]]:
    """Reads .npy and .npz files.

    Args:
        paths: the files.
        elements: whether those in .npz files are read. Without, their arrays have the shape,
            strides and dtype that the file gives them, and memory for one element: nobody may look
            at it.

    Returns:
        (name, array) of every array in them; names are printable, .npy files are memory-mapped.

    Raises:
        CommandError: a file cannot be read, or needs unpickling.
    """
    arrays: list[tuple[str, Array]] = []
    for path in paths:
        try:
            arrays += _load_one(path, elements)
        except CommandError:
            raise
        except OSError as error:
            raise CommandError(f"{printable(path)}: {error.strerror or error}") from error
        except Exception as error:  # a file can be broken in more ways than NumPy has errors for
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise CommandError(f"{printable(path)}: cannot be read: {printable(reason)}") from error
    if not arrays:
        raise CommandError(f"{', '.join(map(printable, paths))}: there is no array in it")
    return arrays


def _load_one(path: str, elements: bool) -> Iterator[tuple[str, Array]]:
    name = printable(path)
    with open(path, "rb") as file:
        if file.read(2) == b"PK":  # how every zip file begins, whatever its name
            yield from _load_members(path, file, elements)
            return
        file.seek(0)
        header = _read_header(name, file)
        if header.nbytes == Path(path).stat().st_size:  # an array without elements
            file.seek(0)
            yield name, np.lib.format.read_array(file, allow_pickle=False)
            return
    try:
        array = np.lib.format.open_memmap(path, mode="c")  # writeable, as what np.load gives
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        array = np.lib.format.open_memmap(path, mode="r")  # larger than memory
    yield name, array


def _load_members(path: str, file: IO[bytes], elements: bool) -> Iterator[tuple[str, Array]]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name = printable(f"{path}:{member.filename.removesuffix('.npy')}")
            # Of these alone zipfile inflates no more than it is asked for.
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise CommandError(f"{name}: {_COMPRESSION}")
            with archive.open(member) as content:
                header = _read_header(name, content)
            there = member.file_size - header.nbytes
            if header.nbytes_of_elements > there:
                raise CommandError(
                    f"{name}: cannot be read: expected {header.nbytes_of_elements} bytes of "
                    f"elements, as its header says, got {there}"
                )
            if not elements:
                yield name, _without_elements(header)
                continue
            with archive.open(member) as content:
                yield name, np.lib.format.read_array(content, allow_pickle=False)


def _read_header(name: str, file: IO[bytes]) -> _Header:
    """Reads a little of the file, whatever its header says of its own length."""
    begin = io.BytesIO(file.read(_MAX_HEADER))
    try:
        version = np.lib.format.read_magic(begin)
    except ValueError:
        raise CommandError(f"{name}: is no array in a format of NumPy (.npy, .npz)") from None
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    header = _Header(*read(begin), begin.tell())
    if header.dtype.hasobject:
        raise CommandError(f"{name}: {_OBJECTS}")
    return header


def _without_elements(header: _Header) -> Array:
    """An array as the header describes it, which must not be read: it is all but empty."""
    sizes = [max(size, 1) for size in header.shape]
    in_order = sizes if header.fortran_order else sizes[::-1]
    strides = list(itertools.accumulate([header.dtype.itemsize, *in_order[:-1]], operator.mul))
    if not header.fortran_order:
        strides.reverse()
    one = np.zeros(1, header.dtype)
    return np.lib.stride_tricks.as_strided(one, header.shape, strides[: len(sizes)])
