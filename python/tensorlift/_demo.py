"""The demo of the command line: what happens to real arrays, and how fast."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from . import reference
from ._convert import from_numpy
from ._explain import explain
from ._text import format_table, format_time
from ._timing import compare

Array = npt.NDArray[Any]


class UserError(Exception):
    """A mistake of the user, to be shown without a traceback."""


def load(paths: Sequence[str]) -> list[tuple[str, Array]]:
    """Reads .npy and .npz files.

    Args:
        paths: the files.

    Returns:
        (name, array) of every array in them; .npy files are memory-mapped.

    Raises:
        UserError: a file cannot be read, or needs unpickling, which could run code.
    """
    arrays: list[tuple[str, Array]] = []
    for path in paths:
        try:
            if path.lower().endswith(".npz"):
                with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                    arrays += [(f"{path}:{name}", archive[name]) for name in archive.files]
            else:
                arrays.append((path, np.load(path, mmap_mode="c", allow_pickle=False)))
        except Exception as error:  # a file can be broken in more ways than NumPy has errors for
            raise UserError(f"{path}: {error}") from error
    return arrays


def sample() -> list[tuple[str, Array]]:
    """A little real data that is on every machine: the text of this package, in many layouts."""
    here = Path(__file__).parent
    files = sorted(here.glob("*.py"))
    texts = [np.fromfile(path, np.uint8) for path in files]
    longest = texts[int(np.argmax([text.size for text in texts]))]
    words = np.array([len(word) for word in longest.tobytes().split()])
    counts = np.bincount(longest, minlength=256).reshape(16, 16)
    page = longest[: longest.size // 80 * 80].reshape(-1, 80)
    record = np.zeros(words.size, [("pad", "u1"), ("length", "f4")])
    record["length"] = words
    return [
        *((path.name, text) for path, text in zip(files[:3], texts, strict=False)),
        ("word lengths", words),
        ("page of 80 columns, turned", page.T),
        ("page, every second line", page[::2]),
        ("page, mirrored", page[:, ::-1]),
        ("byte counts, as a big-endian file holds them", counts.astype(">i8")),
        ("word lengths, a field of packed records", record["length"]),
        ("average byte, a NumPy scalar", longest.mean()),
        ("mapped from disk, read-only", np.memmap(files[0], np.uint8, "r")),
    ]


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The elements' bits, in which NaN equals itself."""
    return tensor.clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)


def _agree(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> bool:
    return all(
        a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(_bytes(a), _bytes(b))
        for a, b in zip(ours, theirs, strict=True)
    )


def run(named: Sequence[tuple[str, Array]], echo: Callable[[str], None]) -> None:
    """Explains, converts in both ways, compares, and times.

    Args:
        named: (name, array) pairs.
        echo: called with each piece of text.

    Raises:
        UserError: none of the arrays can be converted.
        RuntimeError: the native and the pure path disagree, which is a bug.
    """
    explanation = explain([array for _, array in named])
    header = ("array", "shape", "dtype", "becomes", "why")
    rows = [
        (name, str(entry.shape), str(entry.dtype_in), entry.action, entry.reason)
        for (name, _), entry in zip(named, explanation, strict=True)
    ]
    echo(format_table(header, rows))
    for entry in explanation:
        if entry.error:
            echo(entry.error)
    arrays = [
        array
        for (_, array), entry in zip(named, explanation, strict=True)
        if entry.action != "rejected"
    ]
    if not arrays:
        raise UserError("none of these arrays can be converted")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not _agree(from_numpy(arrays), reference.from_numpy(arrays)):
            raise RuntimeError("the native and the pure path disagree; please report it")
        timings = compare(
            {
                "tensorlift": lambda: from_numpy(arrays),
                "reference": lambda: reference.from_numpy(arrays),
                "tensorlift, copy=True": lambda: from_numpy(arrays, copy=True),
            },
            seconds=0.5,
        )
    echo(f"\nBoth paths agree on {len(arrays)} tensors.\n")
    ours = timings["tensorlift"].median
    echo(
        format_table(
            ("way", "all arrays", "times ours"),
            [
                (name, format_time(timing.median), f"{timing.median / ours:.2f}")
                for name, timing in timings.items()
            ],
            right=("all arrays", "times ours"),
        )
    )
