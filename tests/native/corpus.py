"""The corpus of a fuzzer: one text file in the tree, a folder of files for libFuzzer.

A line of the text is an input in hexadecimal digits; what comes after # is a comment. Inputs with a
comment were findings once, and are kept whatever they cover.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "corpus"


def text_of(target: str) -> Path:
    return FOLDER / f"{target}.txt"


def _lines(target: str) -> list[str]:
    path = text_of(target)
    return path.read_text().splitlines() if path.exists() else []


def unpack(target: str, folder: Path) -> None:
    """Writes every input to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for line in _lines(target):
        if digits := line.split("#")[0].strip():
            data = bytes.fromhex(digits)
            (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def pack(target: str, files: Iterable[Path]) -> int:
    """Replaces all inputs without a comment by these. Returns how many inputs there are."""
    kept = [line for line in _lines(target) if "#" in line]
    inputs = sorted((file.read_bytes() for file in files), key=lambda data: (len(data), data))
    lines = kept + [data.hex() for data in inputs if data]
    FOLDER.mkdir(exist_ok=True)
    text_of(target).write_text("".join(f"{line}\n" for line in lines))
    return len(lines)
