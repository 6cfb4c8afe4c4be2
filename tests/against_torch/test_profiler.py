"""torch.profiler(profile_memory=True) sees a batch of more than a few KiB as it sees torch's own.

A smaller one lies beside its tensor and is not reported.
"""

import json

import numpy as np
import pytest
import torch

import tensorlift

MANY = [np.full((256, 1024), i, dtype=np.float32) for i in range(4)]
FEW = [np.full(512, i, dtype=np.float64) for i in range(3)]  # malloc gives it, not the block cache
HUGE = [np.full((1024, 1024), i, dtype=np.float64) for i in range(10)]  # more than the cache keeps


def memory_events(path, make):
    """Bytes of each allocation, and minus the bytes of each release, while `make` runs."""
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        batch = make()
        del batch
    profile.export_chrome_trace(str(path))
    events = json.loads(path.read_text())["traceEvents"]
    return [event["args"]["Bytes"] for event in events if event.get("name") == "[memory]"]


@pytest.mark.parametrize("arrays", [MANY, FEW, HUGE], ids=["many", "few", "huge"])
def test_a_batch_comes_and_goes(arrays, tmp_path):
    tensors = [torch.from_numpy(array) for array in arrays]
    expected = memory_events(tmp_path / "torch.json", lambda: torch.stack(tensors))
    assert expected, "torch reports nothing itself"
    for attempt in ("fresh", "from the cache"):
        path = tmp_path / f"{attempt}.json"
        assert memory_events(path, lambda: tensorlift.stack(arrays)) == expected, attempt


def test_a_batch_from_before_the_profiler_goes(tmp_path):
    theirs = [torch.stack([torch.from_numpy(array) for array in MANY])]
    ours = [tensorlift.stack(MANY)]
    expected = memory_events(tmp_path / "torch.json", theirs.pop)
    assert memory_events(tmp_path / "ours.json", ours.pop) == expected
