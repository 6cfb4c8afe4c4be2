"""Eight threads, all kinds of calls, forks in between; a minute of it: tests/README.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("stress_threads.py")


def test_threads_and_forks():
    """In a process of its own, so that a hang or a crash is one failure."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--rounds", "120"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 threads, 960 calls" in done.stdout
