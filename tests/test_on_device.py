"""The tests of tests/device on the fake accelerator, and the faults that they have to notice.

In processes of their own: with the fake accelerator torch has another idea of what an accelerator
is. On a real one: TENSORLIFT_TEST_DEVICE=cuda pytest tests/device
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import FAULT_SUMMARY

ROOT = Path(__file__).parent.parent


def fault_names() -> list[str]:
    """All but "none", as csrc/faults.cpp names them."""
    source = (ROOT / "csrc" / "faults.cpp").read_text()
    names = source.split("kNames[] = {")[1].split("};")[0]
    return [line.strip().strip('",') for line in names.splitlines() if line.strip()][1:]


def test_on_the_fake_accelerator():
    environment = os.environ | {"TENSORLIFT_TEST_DEVICE": "fake"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/device"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    print(done.stdout[-4000:], done.stderr[-2000:])
    assert done.returncode == 0


@pytest.fixture(scope="module")
def noticed(request: pytest.FixtureRequest, tmp_path_factory) -> dict[str, str | None]:
    """For each fault the test that fails under it."""
    folder: Path = tmp_path_factory.mktemp("faults")
    # Compiled without optimisation: it takes a minute, and nothing is timed.
    environment = os.environ | {"TENSORLIFT_FAULTS": "1", "CXXFLAGS": "-O0"}
    build = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(folder)]
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (library,) = folder.rglob("_C*.so")
    results = folder / "noticed.json"
    command = [sys.executable, str(ROOT / "tests" / "run_with_faults.py"), str(library), results]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout, done.stderr[-2000:])
    assert done.returncode == 0
    found: dict[str, str | None] = json.loads(results.read_text())
    caught = sum(test is not None for fault, test in found.items() if fault != "none")
    request.config.stash[FAULT_SUMMARY] = f"{len(found) - 1} faults seeded, {caught} noticed"
    return found


def test_without_a_fault_all_tests_pass(noticed):
    assert noticed["none"] is None


@pytest.mark.parametrize("fault", fault_names())
def test_seeded_fault_is_noticed(noticed, fault):
    assert noticed[fault] is not None
