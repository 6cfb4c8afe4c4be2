"""The first worlds of fuzz.py; a longer run: tests/README.md."""

from __future__ import annotations

import pytest

from robustness import fuzz

RUNS = 400


@pytest.mark.parametrize("part", range(4))
@pytest.mark.filterwarnings("ignore:ComplexHalf support")
def test_random_worlds_are_as_the_reference_has_them(part):
    calls = errors = 0
    for seed in range(part * RUNS // 4, (part + 1) * RUNS // 4):
        world, finding = fuzz.run(seed)
        assert finding is None, finding
        calls += world.calls
        errors += world.errors
    assert calls == RUNS // 4 * fuzz.STEPS
    assert 0 < errors < 0.8 * calls  # both ways are gone
