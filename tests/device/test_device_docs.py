"""What the documentation shows of devices is what happens, and the benchmark runs."""

import os
import subprocess
import sys

import pytest

from support.device_fixtures import NAME, needs_fake
from support.pages import PAGES, blocks_of, check, is_for_a_device
from support.tree import ROOT

ON_A_DEVICE = [page for page in PAGES if any(map(is_for_a_device, blocks_of(page)))]


@pytest.mark.parametrize("page", ON_A_DEVICE, ids=lambda page: page.stem)
def test_python_of_a_page(page):
    """Up to the last block that is for a device."""
    blocks = blocks_of(page)
    while not is_for_a_device(blocks[-1]):
        blocks.pop()
    names: dict[str, object] = {}
    for block in blocks:
        check(block.replace("cuda", NAME), names)


def test_there_is_something_to_read():
    assert ON_A_DEVICE


def run_benchmark(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "bench_transfer.py"), "--quick", *options]
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, env=environment
    )


@pytest.mark.long
@needs_fake
def test_the_benchmark_runs_and_checks_its_output():
    result = run_benchmark("--device", NAME, "--sweep")
    assert result.returncode == 0, result.stderr
    for text in ("FIGURES MEAN NOTHING", "ratio", "overlap", "Best:"):
        assert text in result.stdout


@needs_fake
def test_the_benchmark_keeps_no_figures_of_the_fake_accelerator(tmp_path):
    report = tmp_path / "report.json"
    assert run_benchmark("--device", NAME, "--json", str(report)).returncode == 2
    assert not report.exists()


@needs_fake
def test_the_benchmark_says_that_it_needs_an_accelerator():
    result = run_benchmark()
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
