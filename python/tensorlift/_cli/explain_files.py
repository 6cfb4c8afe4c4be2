"""Would these arrays be shared or copied, and why? Nothing is converted."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from .._ops.explain import explain
from .._ops.explanation import Explanation, dtypes, shape
from .._text import format_bytes, format_table
from .._typing import Operation
from .files import load


def torch_dtype(name: str) -> torch.dtype:
    """The dtype of a name such as `float32` or `torch.float32`.

    Raises:
        TypeError: no array becomes a tensor of it.
        ValueError: there is none.
    """
    dtype = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"expected a dtype of torch such as float32, got {name!r}")
    explain([], dtype=dtype)
    return dtype


def table(names: Sequence[str], explanation: Explanation) -> str:
    """A row for each array by its name, and what would be refused, with the remedy."""
    header = ("array", "shape", "dtype", "becomes", "why", "bytes")
    rows = [
        (
            name,
            shape(entry),
            dtypes(entry),
            entry.action,
            entry.reason,
            "" if entry.action == "rejected" else format_bytes(entry.nbytes),
        )
        for name, entry in zip(names, explanation, strict=True)
    ]
    lines = [format_table(header, rows, right=("bytes",))]
    lines += [_with_names(entry.error, names) for entry in explanation if entry.error]
    return "\n".join(lines)


def _with_names(error: str, names: Sequence[str]) -> str:
    """Errors speak of `arrays[2]`; whoever gave files knows those by their names."""
    return re.sub(r"\barrays\[(\d+)\]", lambda match: names[int(match[1])], error)


def run(
    files: Sequence[str], operation: Operation = "from_numpy", dtype: torch.dtype | None = None
) -> str:
    """What `python -m tensorlift explain` prints.

    Args:
        files: .npy and .npz files.
        operation: as for :func:`explain`.
        dtype: as for :func:`explain`.

    Raises:
        CommandError: a file cannot be read, or there is no array in them.
    """
    named = load(files, elements=False)
    names = [name for name, _ in named]
    explanation = explain([array for _, array in named], operation=operation, dtype=dtype)
    lines = [str(explanation).partition("\n")[0], table(names, explanation)]
    if explanation.error and not any(entry.error for entry in explanation):
        lines.append(_with_names(explanation.error, names))
    return "\n".join(lines)
