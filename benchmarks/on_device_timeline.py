"""python benchmarks/on_device_timeline.py DEVICE: copies beside kernels, from the profiler's trace.

A loop over batches from DevicePrefetcher, with matrix products as steps. The last line is JSON: the
share of the time of copies in which a kernel ran as well, and the longest time in which none did.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

Interval = tuple[float, float]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time without overlaps, in order."""
    joined: list[Interval] = []
    for begin, end in sorted(intervals):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def overlap(one: list[Interval], other: list[Interval]) -> float:
    """How much time two lists without overlaps have in common."""
    common, i, j = 0.0, 0, 0
    while i < len(one) and j < len(other):
        begin, end = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        common += max(0.0, end - begin)
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return common


def analysed(trace: dict[str, Any]) -> dict[str, Any]:
    """Of a trace in Chrome's format, microseconds."""
    spans: dict[str, list[Interval]] = {"kernel": [], "gpu_memcpy": []}
    for event in trace["traceEvents"]:
        is_copy_out = "DtoH" in event.get("name", "") or "DtoD" in event.get("name", "")
        if event.get("cat") in spans and not is_copy_out:
            spans[event["cat"]].append((event["ts"], event["ts"] + event["dur"]))
    kernels, copies = union(spans["kernel"]), union(spans["gpu_memcpy"])
    if not kernels or not copies:
        return {"note": "the profiler saw no kernels or no copies on this device"}
    copying = sum(end - begin for begin, end in copies)
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(kernels)]
    return {
        "copies": len(spans["gpu_memcpy"]),
        "copy_ms": copying / 1e3,
        "hidden": overlap(kernels, copies) / copying,
        "longest_gap_ms": max(gaps, default=0.0) / 1e3,
    }


def main() -> None:
    (name,) = sys.argv[1:]
    if name == "fakeacc":
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
        import fake_accelerator

        fake_accelerator.load()
    from tensorlift import DevicePrefetcher

    device = torch.device(name)
    size = 64 if name == "fakeacc" else 4096
    batches = [{"x": np.full((64, 224, 224, 3), i, np.uint8)} for i in range(4)] * 5
    factor = torch.rand(size, size).to(device)
    product = torch.empty_like(factor)
    activities = torch.profiler.supported_activities()
    with torch.profiler.profile(activities=activities, acc_events=True) as profile:
        for batch in DevicePrefetcher(batches, device):
            assert batch["x"].device.type == device.type
            for _ in range(8):
                torch.mm(factor, factor, out=product)
        torch.accelerator.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        profile.export_chrome_trace(str(trace))
        print(json.dumps(analysed(json.loads(trace.read_text()))))


if __name__ == "__main__":
    main()
