"""Every allocation of every kind of call fails once: an error or the answer, and nothing lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.tree import needs_compiler

pytest.importorskip("_testcapi")

SCRIPT = Path(__file__).with_name("allocation_faults.py")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloads a library"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]


def figures(folder: Path, *arguments: str) -> dict[str, int]:
    path = folder / "figures.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", str(path), *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, int] = json.loads(path.read_text())
    return found


def test_on_the_host(tmp_path):
    found = figures(tmp_path)
    assert found["C"] > 100
    assert found["Python"] > 300
    assert found["errors"] > 400


@needs_compiler
def test_on_the_fake_accelerator(tmp_path):
    found = figures(tmp_path, "--device", "fake")
    assert found["C"] > 100
    assert found["errors"] > 200
