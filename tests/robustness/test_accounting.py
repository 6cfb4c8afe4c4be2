"""Nothing grows: references, memory, descriptors. The million: `accounting.py`, tests/README.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.tree import needs_compiler

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc"),
]

SCRIPT = Path(__file__).with_name("accounting.py")


def run(*arguments: str) -> str:
    """In a process of its own, where nothing else allocates."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": "0"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_on_the_host():
    assert "0 findings" in run("--arrays", "20000")


@needs_compiler
def test_on_the_fake_accelerator():
    assert "0 findings" in run("--arrays", "5000", "--device", "fake")
