"""Which tests run and where they write; inputs and checks that several of them share."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from sysconfig import get_path

import ml_dtypes
import numpy as np
import pytest
import torch

import tensorlift
from tensorlift import reference

ROOT = Path(__file__).resolve().parent.parent
INTEGRATIONS = ROOT / "tests" / "integrations"
NOT_COPIED = (
    *(".git", ".venv", "build", "*.egg-info", "*.so", "__pycache__", ".*_cache", ".hypothesis"),
)
IS_WRITABLE = os.access(ROOT, os.W_OK)


def _write_elsewhere() -> None:
    """What tests compile, and keep for their next run, does not go into the source tree then."""
    folder = tempfile.mkdtemp(prefix="tensorlift-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["TENSORLIFT_TEST_BUILD"] = folder
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = os.path.join(folder, "hypothesis")


if not IS_WRITABLE and "TENSORLIFT_TEST_BUILD" not in os.environ:
    _write_elsewhere()

# The tests of a device need a process of their own: see test_on_device.py.
_ON_DEVICE = bool(os.environ.get("TENSORLIFT_TEST_DEVICE"))
collect_ignore = [] if _ON_DEVICE else ["device"]
if os.environ.get("TENSORLIFT_TEST_DEVICE") != "fake":  # it would be torch's accelerator then
    collect_ignore.append("device/test_fake_accelerator.py")
pytest_plugins = ["device_fixtures"] if _ON_DEVICE else []

# ml_dtypes' types with a twin in torch, as far as the installed version has them.
ML_DTYPES_TWINS = [
    name
    for name in (
        *("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"),
        *("float8_e8m0fnu", "complex32"),
    )
    if hasattr(ml_dtypes, name)
]


_examples_part = 1
LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all",
        action="store_true",
        help="also the long tests: native programs under sanitizers, seeded faults, allocations "
        "that fail, lists of gigabytes, benchmarks, type checkers, pips, integrations",
    )


def pytest_configure(config: pytest.Config) -> None:
    global _examples_part
    _examples_part = 1 if config.getoption("--all") else 4


def examples(number: int) -> int:
    """How many hypothesis makes up: a quarter of them where only short tests run."""
    return number // _examples_part


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Integrations are long tests, and to import what they integrate takes a while."""
    return True if collection_path == INTEGRATIONS and not config.getoption("--all") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.stash[LEFT_OUT] = len(long)
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in set(long)]


def pytest_collection_finish() -> None:
    """What torch and NumPy have made need not be looked at in every collection of a test."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config):
    if left_out := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(
            f"{left_out} long tests, and the integrations, were left out. All: pytest --all"
        )
    reports = terminalreporter.stats.get("passed", [])
    if faults := sum("test_seeded_fault_is_noticed" in r.nodeid for r in reports):
        terminalreporter.write_line(f"faults seeded and noticed: {faults - 1}")
    ran = {
        r.nodeid.split("test_")[1].split(".py")[0] for r in reports if "integrations/" in r.nodeid
    }
    if ran:
        terminalreporter.write_line(f"integrations that ran: {', '.join(sorted(ran))}")


def _can_compile() -> bool:
    compiler = shlex.split(os.environ.get("CXX") or "c++")[0]
    return shutil.which(compiler) is not None and Path(get_path("include"), "Python.h").exists()


needs_compiler = pytest.mark.skipif(
    not _can_compile(), reason="needs a C++ compiler, and Python's headers"
)


@functools.cache
def source_tree() -> Path:
    """The source tree, or a copy of it where nobody may write to it, as a build does."""
    if IS_WRITABLE:
        return ROOT
    copy = Path(tempfile.mkdtemp(prefix="tree-", dir=os.environ["TENSORLIFT_TEST_BUILD"]))
    ignored = shutil.ignore_patterns(*NOT_COPIED)
    shutil.copytree(ROOT, copy, ignore=ignored, dirs_exist_ok=True)
    return copy


@pytest.fixture(params=["native", "reference"])
def tl(request: pytest.FixtureRequest):
    """Both implementations: what holds for one must hold for the other."""
    return tensorlift if request.param == "native" else reference


@pytest.fixture
def steady_references() -> Iterator[Callable[[object], None]]:
    """Checks at the end of a test that objects have as many references as when they were given."""
    watched: list[tuple[object, int]] = []

    def watch(item: object) -> None:
        watched.append((item, sys.getrefcount(item)))

    yield watch
    gc.collect()
    while watched:
        item, before = watched.pop()
        assert sys.getrefcount(item) <= before, f"leaked a reference to {item!r}"


def misaligned(array: np.ndarray) -> np.ndarray:
    """The same values one byte off the alignment of their dtype."""
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def odd_strides(array: np.ndarray) -> np.ndarray:
    """The same values as a field of packed records: strides no multiple of the itemsize."""
    records = np.zeros(array.shape, dtype=np.dtype([("pad", "u1"), ("value", array.dtype)]))
    records["value"] = array
    return records["value"]


def read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal to the last bit, NaN included."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    fresh = (t.clone(memory_format=torch.contiguous_format).reshape(-1) for t in (a, b))
    return torch.equal(*(t.view(torch.uint8) for t in fresh))
