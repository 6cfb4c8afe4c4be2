"""A copy of what a build needs, with the edits made."""

from __future__ import annotations

import shutil
from pathlib import Path

from .edits import EDITS

HERE = Path(__file__).parent
NEEDED = ("LICENSE", "README.md", "csrc", "pyproject.toml", "python", "setup.py")
NOT_COPIED = ("*.so", "__pycache__", ".*_cache")


def edited(csrc: Path) -> dict[str, str]:
    """The files that the edits change, by name below `csrc`; an AssertionError where one cannot."""
    texts: dict[str, str] = {}
    for edit in EDITS:
        text = texts.get(edit.file) or '#include "seeding.h"\n' + (csrc / edit.file).read_text()
        found = text.count(edit.text)
        assert found == 1, f"csrc/{edit.file}: expected once, found {found} times: {edit.text!r}"
        texts[edit.file] = text.replace(edit.text, edit.replacement)
    return texts


def write_tree(root: Path, folder: Path) -> None:
    """Copies the source tree at `root`, as far as it is built from, and edits the copy."""
    folder.mkdir()
    for name in NEEDED:
        if (root / name).is_dir():
            ignored = shutil.ignore_patterns(*NOT_COPIED)
            shutil.copytree(root / name, folder / name, ignore=ignored)
        else:
            shutil.copy2(root / name, folder / name)
    for name, text in edited(root / "csrc").items():
        (folder / "csrc" / name).write_text(text)
    for name in ("seeding.h", "seeding.cpp"):
        shutil.copy2(HERE / name, folder / "csrc" / name)
