"""The demo of the command line: what happens to real arrays, and how fast."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from .. import reference
from .._ops.convert import from_numpy
from .._ops.explain import explain
from .._text import format_bytes, format_table, format_time
from .errors import CommandError
from .explain_files import table
from .files import Array, load
from .machine import available_memory
from .timing import compare


def sample() -> list[tuple[str, Array]]:
    """A little real data that is on every machine: the text of this package, in many layouts."""
    package = Path(__file__).parent.parent
    files = sorted(package.rglob("*.py"))
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


def _check_memory(arrays: Sequence[Array]) -> None:
    needed = 6 * sum(array.nbytes for array in arrays)  # copies of both paths, and what they check
    available = available_memory()
    if available is not None and needed > available:
        raise CommandError(
            f"the demo would need {format_bytes(needed)} of memory, of which "
            f"{format_bytes(available)} are free; explain reads nothing"
        )


def run(files: Sequence[str], echo: Callable[[str], None]) -> None:
    """Explains, converts in both ways, compares, and times.

    Args:
        files: .npy and .npz files; none for a sample.
        echo: called with each piece of text.

    Raises:
        CommandError: a file cannot be read; none of the arrays can be converted.
        RuntimeError: the native and the pure path disagree, which is a bug.
    """
    if files:  # elements are read only once it is known how many there are
        _check_memory([array for _, array in load(files, elements=False)])
    named = load(files) if files else sample()
    explanation = explain([array for _, array in named])
    echo(table([name for name, _ in named], explanation))
    arrays = [
        array
        for (_, array), entry in zip(named, explanation, strict=True)
        if entry.action != "rejected"
    ]
    if not arrays:
        raise CommandError("none of these arrays can be converted")

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
