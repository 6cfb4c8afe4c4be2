"""The source tree, where it may be written to, and what can be compiled."""

from __future__ import annotations

import atexit
import functools
import os
import shlex
import shutil
import tempfile
from pathlib import Path
from sysconfig import get_path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORLD = ROOT / "tests" / "world"
NOT_COPIED = (
    *(".git", ".venv", "build", "*.egg-info", "*.so", "__pycache__", ".*_cache", ".hypothesis"),
)
IS_WRITABLE = os.access(ROOT, os.W_OK)


def write_elsewhere() -> None:
    """What tests compile, and keep for their next run, does not go into the source tree then."""
    folder = tempfile.mkdtemp(prefix="tensorlift-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["TENSORLIFT_TEST_BUILD"] = folder
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = os.path.join(folder, "hypothesis")


def _can_compile() -> bool:
    compiler = shlex.split(os.environ.get("CXX") or "c++")[0]
    return shutil.which(compiler) is not None and Path(get_path("include"), "Python.h").exists()


needs_compiler = pytest.mark.skipif(
    not _can_compile(), reason="needs a C++ compiler, and Python's headers"
)


@functools.cache
def source_tree() -> Path:
    """The source tree, or a copy of it where nobody may write to it, as a build does."""
    if IS_WRITABLE:
        return ROOT
    copy = Path(tempfile.mkdtemp(prefix="tree-", dir=os.environ["TENSORLIFT_TEST_BUILD"]))
    ignored = shutil.ignore_patterns(*NOT_COPIED)
    shutil.copytree(ROOT, copy, ignore=ignored, dirs_exist_ok=True)
    return copy
