"""Finds Python interpreters and C++ compilers of a version: on PATH, then among pyenv's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

# "3.13t" for a free-threaded one, and where it was installed.
_PROBE = (
    "import sys, sysconfig; "
    "print('{}.{}'.format(*sys.version_info)"
    " + 't' * bool(sysconfig.get_config_var('Py_GIL_DISABLED')), sys.base_prefix)"
)
NEWEST_CLANG = 30


def _identity(python: Path) -> tuple[str, str] | None:
    """Version and prefix; None where it does not run, like a shim of a version not chosen."""
    command = [str(python), "-c", _PROBE]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        return None
    version, prefix = found.stdout.strip().split(maxsplit=1)
    return version, prefix


def _on_path(name: str) -> Iterator[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        program = Path(folder, name)
        if folder and os.access(program, os.X_OK):
            yield program


def _of_pyenv(name: str) -> Iterator[Path]:
    if shutil.which("pyenv") is None:
        return
    root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True)
    versions = Path(root.stdout.strip(), "versions").glob("*")
    newest_first = sorted(
        versions, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)], reverse=True
    )
    yield from (path / "bin" / name for path in newest_first if (path / "bin" / name).exists())


def find_python(version: str, *, of_the_system: bool = False) -> Path | None:
    """An interpreter of that version.

    Args:
        version: like "3.12", or "3.13t" for a free-threaded one.
        of_the_system: only the distribution's own, which is built with more optimisation than
            pyenv's.
    """
    name = f"python{version}"
    for program in (*_on_path(name), *_of_pyenv(name)):
        identity = _identity(program)
        if identity is None or identity[0] != version:
            continue
        if not of_the_system or identity[1] == "/usr":
            return program
    return None


def find_clang() -> str | None:
    """The newest clang++ on PATH; CXX, where that is one."""
    chosen = os.environ.get("CXX", "")
    if "clang" in chosen:
        return chosen
    names = ["clang++", *(f"clang++-{number}" for number in range(NEWEST_CLANG, 0, -1))]
    return next((name for name in names if shutil.which(name)), None)
