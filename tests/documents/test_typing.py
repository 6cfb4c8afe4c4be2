"""Types: a user's program passes strict checkers, and its mistakes are found."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

PROGRAM = Path(__file__).with_name("user_program.py")
MISTAKES = {
    number
    for number, line in enumerate(PROGRAM.read_text().splitlines(), start=1)
    if line.endswith("# an error")
}


def run(*command):
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=300
    )


def needs(module):
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"needs {module}: pip install .[lint]")


@needs("mypy")
def test_mypy_strict(tmp_path):
    checked = run("mypy", "--strict", f"--cache-dir={tmp_path}", str(PROGRAM))
    lines = {int(n) for n in re.findall(r"^\S+?:(\d+): error", checked.stdout, re.MULTILINE)}
    assert lines == MISTAKES, checked.stdout + checked.stderr


@needs("basedpyright")
def test_pyright(tmp_path):
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    (tmp_path / "user_program.py").write_text(PROGRAM.read_text())
    python = f"--pythonpath={sys.executable}"
    checked = run("basedpyright", "--outputjson", python, "--project", str(tmp_path))
    found = json.loads(checked.stdout)["generalDiagnostics"]
    lines = {d["range"]["start"]["line"] + 1 for d in found if d["severity"] == "error"}
    assert lines == MISTAKES, found


@needs("basedpyright")
def test_every_public_name_has_a_type():
    python = f"--pythonpath={sys.executable}"
    checked = run("basedpyright", "--verifytypes", "tensorlift", "--ignoreexternal", python)
    assert "Type completeness score: 100%" in checked.stdout, checked.stdout
