"""Which tests run and where they write, and fixtures that several of them share."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torch.utils.data._utils import worker

import tensorlift
from support import amount
from support.tree import IS_WRITABLE, WORLD, write_elsewhere
from tensorlift import _C, reference

if not IS_WRITABLE and "TENSORLIFT_TEST_BUILD" not in os.environ:
    write_elsewhere()

# The tests of a device need a process of their own: see test_on_device.py.
_ON_DEVICE = bool(os.environ.get("TENSORLIFT_TEST_DEVICE"))
collect_ignore = [] if _ON_DEVICE else ["device"]
if os.environ.get("TENSORLIFT_TEST_DEVICE") != "fake":  # it would be torch's accelerator then
    collect_ignore.append("device/test_fake_accelerator.py")
pytest_plugins = ["support.device_fixtures"] if _ON_DEVICE else []

LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all",
        action="store_true",
        help="also the long tests: native programs under sanitizers, seeded faults, allocations "
        "that fail, lists of gigabytes, benchmarks, type checkers, pips, tests/world",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--all"):
        amount.make_all_examples()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests with other libraries are long ones, and to import those takes a while."""
    return True if collection_path == WORLD and not config.getoption("--all") else None


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
            f"{left_out} long tests, and tests/world, were left out. All: pytest --all"
        )
    reports = terminalreporter.stats.get("passed", [])
    if faults := sum("test_seeded_fault_is_noticed" in r.nodeid for r in reports):
        terminalreporter.write_line(f"faults seeded and noticed: {faults - 1}")
    for outcome, what in (("passed", "ran"), ("skipped", "were skipped")):
        reports = terminalreporter.stats.get(outcome, [])
        of_files = (re.search(r"world/test_(\w+)\.py", r.nodeid) for r in reports)
        if names := {found[1] for found in of_files if found}:
            terminalreporter.write_line(f"of tests/world {what}: {', '.join(sorted(names))}")


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


@pytest.fixture
def in_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process takes itself for a worker."""
    monkeypatch.setattr(worker, "_worker_info", "anything")
    yield
    gc.collect()
    tensorlift.empty_cache()
    assert _C.idle_segment_bytes() == 0
