"""What a loader does for days, in a minute: each part in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tensorlift import _C

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not _C.has_segments(), reason="needs Linux"),
]

PROGRAM = Path(__file__).with_name("long_runs.py")
PARTS = [
    *("epochs", "kept", "sent_on", "saved"),
    *("left_early", "interrupted", "worker_killed", "side_by_side"),
]


@pytest.mark.parametrize("part", PARTS)
def test_nothing_grows(part):
    command = [sys.executable, "-W", "ignore", str(PROGRAM), part]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, start_new_session=True
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
