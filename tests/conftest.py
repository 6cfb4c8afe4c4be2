"""Inputs and checks that several tests share."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np
import pytest
import torch

import tensorlift
from tensorlift import reference

# The tests of a device need a process of their own: see test_on_device.py.
_ON_DEVICE = bool(os.environ.get("TENSORLIFT_TEST_DEVICE"))
collect_ignore = [] if _ON_DEVICE else ["device"]
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


# What test_on_device.py found out about the seeded faults of csrc/faults.h.
FAULT_SUMMARY = pytest.StashKey[str]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config):
    if summary := config.stash.get(FAULT_SUMMARY, None):
        terminalreporter.write_line(f"transfer to a device: {summary}")
    reports = terminalreporter.stats.get("passed", [])
    ran = {
        r.nodeid.split("test_")[1].split(".py")[0] for r in reports if "integrations/" in r.nodeid
    }
    if ran:
        terminalreporter.write_line(f"integrations that ran: {', '.join(sorted(ran))}")


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
