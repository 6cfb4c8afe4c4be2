"""The source distribution: all that git tracks and a build or a test needs, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile

import pytest

from support.tree import ROOT, source_tree

BACKEND = ROOT / "python" / "build_backend"

pytest.importorskip("setuptools")

# Tracked, and of no use to whoever has the archive.
LEFT_OUT = (".gitignore", ".clang-format", ".ci/", ".github/workflows/")
# Made by setuptools.
MADE = {"PKG-INFO", "setup.cfg"}


def tracked_files() -> set[str]:
    if not (ROOT / ".git").exists():  # perhaps a copy inside of another checkout
        pytest.skip("not a git checkout")
    command = ["git", "ls-files"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines() if (ROOT / name).exists()}


def test_it_holds_what_git_tracks_and_nothing_else(tmp_path):
    code = f"import tensorlift_build as b; b.build_sdist({str(tmp_path)!r})"
    environment = os.environ | {"PYTHONPATH": str(BACKEND)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=source_tree(),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        members = [m for m in archive.getmembers() if not m.isdir()]
    assert all(m.isfile() for m in members), "links and the like"
    names = {m.name.split("/", 1)[1] for m in members}
    ours = names - MADE
    expected = {name for name in tracked_files() if not name.startswith(LEFT_OUT)}
    assert sorted(expected - ours) == [], "missing"
    assert sorted(ours - expected) == [], "not tracked by git"


def test_a_build_asks_for_nothing_but_what_it_declares():
    """No module of the build opens a connection, nor runs pip or another fetcher."""
    sources = [ROOT / "setup.py", *BACKEND.rglob("*.py")]
    words = ("urllib", "requests", "http.client", "socket", "curl", "wget", "ensurepip")
    for path in sources:
        text = path.read_text()
        imports = [line for line in text.splitlines() if "import" in line or "subprocess" in line]
        assert not [line for line in imports if any(word in line for word in words)]
