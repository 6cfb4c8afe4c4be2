"""The house rules of csrc: which folder may include which, and Python at the binding layer only."""

import re
from pathlib import Path

import pytest

from support.tree import ROOT

CSRC = ROOT / "csrc"

# Which folders a folder's files may include, beside their own and the files of csrc itself. Data
# flows one way: what copies, plans, shares or sends does not know who asked for it.
MAY_INCLUDE = {
    "binding": {"input", "ops", "plan", "copy", "parallel", "memory", "shm", "device"},
    "input": {"binding", "plan", "copy", "memory"},
    "ops": {"binding", "input", "plan", "copy", "parallel", "memory", "shm", "device"},
    "plan": {"copy", "memory"},
    "copy": {"plan", "parallel"},
    "parallel": {"memory"},
    "memory": {"plan", "copy", "parallel"},
    "shm": {"memory", "parallel"},
    "device": {"plan", "copy", "memory", "parallel"},
    "": set(),
}
KNOW_PYTHON = {"binding", "input", "ops"}
PYTHON = re.compile(r"^(Python\.h|numpy/.*|pybind11/.*|torch/csrc/.*)$")

FILES = sorted(path for path in CSRC.rglob("*") if path.suffix in (".h", ".cpp"))


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def folder_of(path: Path) -> str:
    return "" if path.parent == CSRC else str(path.parent.relative_to(CSRC))


def name_of(path: Path) -> str:
    return str(path.relative_to(CSRC))


def test_every_folder_has_its_rule():
    assert len(FILES) > 10
    assert {folder_of(path) for path in FILES} == set(MAY_INCLUDE)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_folder_includes_what_it_may(path):
    here = folder_of(path)
    for include in includes(path):
        target = CSRC / include
        if target.exists():
            assert folder_of(target) in {here, "", *MAY_INCLUDE[here]}
        if here not in KNOW_PYTHON:
            assert not PYTHON.match(include)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_python_and_numpy_come_through_one_header(path):
    if path.name == "python_api.h":
        return
    for include in includes(path):
        assert not re.match(r"^(Python\.h|numpy/|pybind11/)", include)
        assert include != "torch/extension.h", "11 s instead of 29 s a file: narrow includes"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_everything_lives_in_the_namespace(path):
    if path.name not in ("python_api.h", "simd.h"):  # includes and a macro
        assert "namespace tensorlift {" in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_source_has_its_header(path):
    if path.suffix == ".cpp" and path.stem != "bindings":
        assert includes(path)[0] == name_of(path.with_suffix(".h"))
