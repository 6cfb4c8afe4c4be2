"""What the tests of a device share. Import the fixtures that a module needs.

The device is named by the variable TENSORLIFT_TEST_DEVICE: "fake" for the test-only accelerator of
tests/fake_accelerator, on which a missing wait is wrong data every time, or a real one ("cuda",
"xpu"), which must be there then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import pytest
import torch

import tensorlift
from tensorlift import _C

DEVICE = os.environ.get("TENSORLIFT_TEST_DEVICE", "fake")
if DEVICE == "fake":
    import fake_accelerator

    FAKE: ModuleType | None = fake_accelerator.load()
    NAME = "fakeacc"
else:
    FAKE = None
    NAME = DEVICE

DEFAULTS = tensorlift.staging()

# The wrong thing that this process's build is told to do in every test: see seeded_faults.
FAULT = os.environ.get("TENSORLIFT_TEST_FAULT", "none")

needs_fake = pytest.mark.skipif(FAKE is None, reason="needs the fake accelerator")
needs_gate = pytest.mark.skipif(not hasattr(_C, "seed"), reason="needs a build with faults")
needs_capture_check = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13),
    reason="torch before 2.13 cannot be asked",
)


def clean_up() -> None:
    if FAKE is not None:
        FAKE.reset()
        FAKE.set_device(0)
    torch.accelerator.synchronize()
    tensorlift.empty_cache()
    tensorlift.set_staging(**DEFAULTS._asdict())
    if FAKE is not None:
        FAKE.reset_stats()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Every test begins with a quiet device and the default settings."""
    clean_up()
    if FAULT != "none":
        _C.seed(FAULT)
    yield
    if FAULT != "none":
        _C.seed("")
        _C.open_gate()
    clean_up()


@pytest.fixture
def fake() -> ModuleType:
    """The fake accelerator's controls."""
    if FAKE is None:
        pytest.skip("needs the fake accelerator")
    return FAKE


@pytest.fixture
def small_ring() -> None:
    """Two buffers of 16 KiB, so that every batch of any size goes through them many times."""
    tensorlift.set_staging(chunk_bytes=16 << 10, buffers=2)


def wait_until(condition: Callable[[], object]) -> None:
    """For a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.0002)


def mixed(count: int = 40, seed: int = 0) -> list[np.ndarray]:
    """Arrays of several dtypes and shapes, empty and 0-d ones among them."""
    rng = np.random.default_rng(seed)
    dtypes = [np.float32, np.uint8, np.int64, np.float64]
    shapes = [(int(rng.integers(0, 900)),) for _ in range(count)]
    shapes += [(300, 500), (1,), (), (0, 4), (3, 5, 7)]
    return [
        rng.integers(1, 200, size=shape).astype(dtypes[i % 4]) for i, shape in enumerate(shapes)
    ]


def same(tensors: list[torch.Tensor], arrays: list[np.ndarray]) -> bool:
    """Equal values, read on the current stream."""
    return len(tensors) == len(arrays) and all(
        tensor.shape == array.shape and np.array_equal(tensor.cpu().numpy(), array)
        for tensor, array in zip(tensors, arrays, strict=True)
    )
