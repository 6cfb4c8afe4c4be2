"""The tests of tests/device on the fake accelerator, and the faults that they have to notice.

In processes of their own: with the fake accelerator torch has another idea of what an accelerator
is. On a real one: TENSORLIFT_TEST_DEVICE=cuda pytest tests/device
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seeded_faults.edits import EDITS, FAULTS
from seeded_faults.source import edited, write_tree
from support.tree import ROOT, needs_compiler

pytestmark = needs_compiler

FILES = sorted((ROOT / "tests" / "device").glob("test_*.py"))


@pytest.fixture(scope="module")
def _fake_accelerator() -> None:
    """Compiled, if need be."""
    code = "import fake_accelerator; fake_accelerator.load()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "tests", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.usefixtures("_fake_accelerator")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_on_the_fake_accelerator(path, request):
    environment = os.environ | {"TENSORLIFT_TEST_DEVICE": "fake"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    command += ["--all"] if request.config.getoption("--all") else []
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    print(done.stdout[-4000:], done.stderr[-2000:])
    if done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED:
        pytest.skip("long tests alone")
    assert done.returncode == 0


@pytest.fixture(scope="module")
def under(tmp_path_factory, _fake_accelerator) -> Iterator[Callable[[str], Any]]:
    """Runs the tests of transfers under a fault, and answers as seeded_faults/run.py does."""
    folder: Path = tmp_path_factory.mktemp("faults")
    write_tree(ROOT, folder / "source")
    # Without optimisation: it takes half the time, and nothing is timed.
    environment = os.environ | {"CXXFLAGS": "-O0"}
    build = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(folder / "built")]
    done = subprocess.run(
        build, cwd=folder / "source", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (library,) = (folder / "built").rglob("_C*.so")
    command = [sys.executable, str(ROOT / "tests" / "seeded_faults" / "run.py"), str(library)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as runner:

        def run(fault: str) -> Any:
            print(fault, file=runner.stdin, flush=True)
            return json.loads(runner.stdout.readline())

        yield run
        runner.stdin.close()


def test_every_edit_finds_its_text():
    assert edited(ROOT / "csrc").keys() == {edit.file for edit in EDITS}
    asked = {n for e in EDITS for n in re.findall(r'is_seeded\("(\w+)"\)', e.replacement)}
    assert asked == FAULTS.keys()


@pytest.mark.long
@pytest.mark.parametrize("fault", ["none", *FAULTS])
def test_seeded_fault_is_noticed(under, fault):
    answer = under(fault)
    print(answer["output"][-4000:])
    assert (answer["noticed_by"] is None) == (fault == "none")
