"""benchmarks/on_device.py: what is to be run when there is an accelerator, rehearsed."""

import json
import subprocess
import sys
import time

import pytest

from support.device_fixtures import needs_fake
from support.tree import ROOT

BENCHMARKS = ROOT / "benchmarks"


def run(out, *options: str) -> tuple[int, dict]:
    command = [sys.executable, str(BENCHMARKS / "on_device.py"), "--device", "fakeacc"]
    done = subprocess.run(
        [*command, "--out", str(out), *options], capture_output=True, text=True, timeout=300
    )
    return done.returncode, json.loads((out / "results.json").read_text())


@needs_fake
def test_a_phase_ends_when_its_time_is_over(tmp_path):
    begin = time.monotonic()
    status, results = run(tmp_path, "--phase", "transfer", "--minutes", "0.01")
    assert status == 1
    assert results["transfer"]["problem"] == "its time was over before it ended"
    assert time.monotonic() - begin < 60


@pytest.mark.long
@needs_fake
def test_phases_add_to_what_is_there(tmp_path):
    assert run(tmp_path, "--phase", "sanitizer")[0] == 0
    status, results = run(tmp_path, "--phase", "transfer", "--phase", "timeline")
    assert status == 0
    assert set(results) == {"sanitizer", "transfer", "timeline"}
    assert "waiting for input" in results["transfer"]["found"]["printed"]
    assert "FIGURES MEAN NOTHING" in (tmp_path / "report.md").read_text()
    assert len(list(tmp_path.iterdir())) <= 8


def test_the_timeline_is_read(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import on_device_timeline

    def event(category, begin, end, name="x"):
        return {"cat": category, "name": name, "ts": begin, "dur": end - begin}

    events = [
        event("kernel", 0, 40),
        event("kernel", 30, 50),
        event("kernel", 90, 100),
        event("gpu_memcpy", 40, 60, "Memcpy HtoD (Pinned -> Device)"),
        event("gpu_memcpy", 80, 100, "Memcpy HtoD (Pinned -> Device)"),
        event("gpu_memcpy", 200, 900, "Memcpy DtoH (Device -> Pinned)"),
        {"name": "of the host", "ph": "M"},
    ]
    found = on_device_timeline.analysed({"traceEvents": events})
    assert found == {"copies": 2, "copy_ms": 0.04, "hidden": 0.5, "longest_gap_ms": 0.04}
    assert "note" in on_device_timeline.analysed({"traceEvents": events[:3]})
