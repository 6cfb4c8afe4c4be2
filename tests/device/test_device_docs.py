"""What the documentation shows of devices is what happens, and the benchmark runs."""

import subprocess
import sys

import pytest

from device_fixtures import NAME, needs_fake
from test_docs import FOR_A_DEVICE, ROOT, check


@pytest.mark.parametrize("block", FOR_A_DEVICE)
def test_readme_python(block):
    check(block.replace("cuda", NAME))


def test_there_is_something_to_read():
    assert FOR_A_DEVICE


@needs_fake
def test_the_benchmark_runs_and_checks_its_output():
    command = [sys.executable, str(ROOT / "benchmarks" / "bench_transfer.py"), "--quick"]
    result = subprocess.run(
        [*command, "--device", NAME], capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert "ratio" in result.stdout
