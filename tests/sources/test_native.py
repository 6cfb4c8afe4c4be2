"""The core without Python, under sanitizers: see tests/native."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.tree import ROOT

pytestmark = pytest.mark.long

RUN = ROOT / "tests" / "native" / "run.py"
MISSING_TOOL = 77  # as run.py exits where the machine cannot


def run(command: str) -> None:
    done = subprocess.run([sys.executable, RUN, command], capture_output=True, text=True)
    if done.returncode == MISSING_TOOL:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_fuzzers_found_once_still_works():
    """The corpus, under address and undefined-behaviour sanitizers."""
    run("replay")


def test_what_threads_share_has_no_races():
    """Many threads, under a thread sanitizer."""
    run("tsan")
