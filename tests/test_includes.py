"""The house rules of csrc: Python and NumPy at the seam only."""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).parent.parent / "csrc"

# What may know that Python exists. Everything else copies, plans or builds without it.
SEAM = {
    "batch",
    "batch_options",
    "columns",
    "conduct",
    "date_units",
    "explain_batch",
    "bindings",
    "device_options",
    "from_numpy_packed",
    "hidden_list",
    "pinned_array",
    "explain",
    "from_numpy",
    "gc_pause",
    "gil",
    "inspect",
    "items",
    "numpy_dtype",
    "options",
    "owner",
    "python_api",
    "rejection",
    "segment_messages",
    "source_reader",
}
PYTHON = re.compile(r"^(Python\.h|numpy/.*|pybind11/.*|torch/csrc/.*|python_api\.h)$")


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


FILES = sorted([*CSRC.glob("*.h"), *CSRC.glob("*.cpp")])


def test_there_are_files():
    assert len(FILES) > 10
    assert {path.stem for path in FILES} >= SEAM


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_the_seam_includes_python(path):
    own_seam_headers = {f"{name}.h" for name in SEAM}
    for include in includes(path):
        if path.stem not in SEAM:
            assert not PYTHON.match(include)
            assert include not in own_seam_headers


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_python_and_numpy_come_through_one_header(path):
    if path.name == "python_api.h":
        return
    for include in includes(path):
        assert not re.match(r"^(Python\.h|numpy/|pybind11/)", include)
        assert include != "torch/extension.h", "11 s instead of 29 s a file: narrow includes"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_everything_lives_in_the_namespace(path):
    if path.name not in ("python_api.h", "simd.h"):  # includes and a macro
        assert "namespace tensorlift {" in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_source_has_its_header(path):
    if path.suffix == ".cpp" and path.stem != "bindings":
        assert includes(path)[0] == f"{path.stem}.h"
