"""Everything that there is to measure on a machine with an accelerator, by one command.

    python benchmarks/on_device.py --out DIR                  all phases, one after another
    python benchmarks/on_device.py --out DIR --phase tests    one of them, again
    python benchmarks/on_device.py --list                     what there is

From a clone in which tensorlift is installed. Each phase is a process of its own, ends within its
time box, and writes its part of DIR/results.json and DIR/log.txt when it ends. `--device fakeacc`
takes the accelerator of tests/fake_accelerator instead: a rehearsal, whose figures mean nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FAKE = "fakeacc"
MINUTES = 8.0  # for a phase, unless it is told otherwise

# A skip on a real accelerator is a gap in what was tested, but for these.
MAY_BE_SKIPPED = ("needs the fake accelerator", "needs a build with faults", "not installed")
SANITIZERS = ("memcheck", "racecheck", "synccheck")
SANITIZED = """
import numpy as np, tensorlift, torch
arrays = [np.full(n, n, np.float32) for n in (1, 7, 1024, 1 << 18)]
for _ in range(3):
    for tensor, array in zip(tensorlift.from_numpy(arrays, device="cuda"), arrays):
        assert np.array_equal(tensor.cpu().numpy(), array)
    images = [np.full((32, 32, 3), i, np.uint8) for i in range(8)]
    batch = tensorlift.stack(images, device="cuda", dtype=torch.float32, channel_dim=-1)
    assert batch[3].eq(3).all()
    tensorlift.pad([np.arange(n) for n in (1, 5, 3)], device="cuda").batch.sum().item()
"""


class PhaseError(Exception):
    """What went wrong in a phase, in a sentence."""


@dataclasses.dataclass
class Phase:
    """Where a phase runs: what it may use, and where it leaves what it found."""

    device: str
    out: Path
    deadline: float
    log: Any

    @property
    def is_rehearsal(self) -> bool:
        return self.device == FAKE

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        """Runs a command until it ends or the phase's time does; gives what it printed."""
        print(f"\n$ {' '.join(command)}", file=self.log, flush=True)
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that all it starts can be ended together
        ) as process:
            try:
                printed, _ = process.communicate(timeout=max(1.0, self.deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                printed, _ = process.communicate()
                print(printed, file=self.log, flush=True)
                raise PhaseError("its time was over before it ended") from None
        print(printed, file=self.log, flush=True)
        if check and process.returncode != 0:
            raise PhaseError(f"{command[1]}: exit status {process.returncode}")
        return printed


def environment(phase: Phase) -> dict[str, Any]:
    """Versions and devices, and how long a build takes."""
    info = json.loads(phase.run(sys.executable, "-m", "tensorlift", "info", "--json"))
    found: dict[str, Any] = {"info": info}
    if shutil.which("nvidia-smi"):
        found["nvidia-smi"] = phase.run("nvidia-smi", check=False)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        ignored = shutil.ignore_patterns(".git", "build", "*.so", "__pycache__", ".venv")
        shutil.copytree(ROOT, source, ignore=ignored)
        command = [sys.executable, "-m", "pip", "wheel", "-q", str(source), "-w", folder]
        begin = time.monotonic()
        phase.run(*command, "--no-build-isolation", "--no-deps")
        found["build_seconds"] = round(time.monotonic() - begin, 1)
    return found


def tests(phase: Phase) -> dict[str, Any]:
    """tests/device, where a skip counts as a failure unless it is of MAY_BE_SKIPPED."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        pytest = [sys.executable, "-m", "pytest", "-q", "-rs", f"--junitxml={report}"]
        name = "fake" if phase.is_rehearsal else phase.device
        phase.run(*pytest, "tests/device", check=False, TENSORLIFT_TEST_DEVICE=name)
        if not report.exists():
            raise PhaseError("pytest ended without a report")
        cases = list(xml.etree.ElementTree.parse(report).getroot().iter("testcase"))
    failed, skipped = [], []
    for case in cases:
        test = f"{case.get('classname')}::{case.get('name')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(test)
        elif skip is not None:
            reason = skip.get("message") or ""
            (skipped if any(r in reason for r in MAY_BE_SKIPPED) else failed).append(
                f"{test}: {reason}"
            )
    passed = len(cases) - len(failed) - len(skipped)
    found = {"passed": passed, "failed": failed, "skipped": skipped}
    if failed and not phase.is_rehearsal:
        raise PhaseError(f"{passed} passed; failed, or skipped without need: {', '.join(failed)}")
    return found


def sanitizer(phase: Phase) -> dict[str, Any]:
    """compute-sanitizer over a small program; skipped where there is none."""
    program = shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path="/usr/local/cuda/bin"
    )
    if phase.device != "cuda" or program is None:
        return {"not run": "compute-sanitizer is not installed, or the device is not CUDA's"}
    found = {}
    for tool in SANITIZERS:
        printed = phase.run(
            program, "--tool", tool, "--error-exitcode=9", sys.executable, "-c", SANITIZED
        )
        summary = [line for line in printed.splitlines() if "ERROR SUMMARY" in line]
        found[tool] = summary[-1].strip("= ") if summary else "no summary"
    return found


def benchmark(phase: Phase, *options: str) -> dict[str, Any]:
    """The suite `transfer` with these options: its results, or only its text in a rehearsal."""
    command = [sys.executable, str(HERE / "bench_transfer.py"), "--device", phase.device, *options]
    if phase.is_rehearsal:
        return {"printed": phase.run(*command)}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        printed = phase.run(*command, "--json", str(report))
        return {"printed": printed, "report": json.loads(report.read_text())}


def transfer(phase: Phase) -> dict[str, Any]:
    """All cases against all peers; host times, overlap and waiting for input."""
    return benchmark(phase)


def sweep(phase: Phase) -> dict[str, Any]:
    """Threads, chunk sizes and numbers of buffers, and what the defaults should be."""
    return benchmark(phase, "--sweep", "--only", "stack 1000 x")


def timeline(phase: Phase) -> dict[str, Any]:
    """What of the copies runs beside kernels, by torch.profiler's trace of the device."""
    script = str(HERE / "on_device_timeline.py")
    printed = phase.run(sys.executable, script, phase.device)
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


PHASES: dict[str, Callable[[Phase], dict[str, Any]]] = {
    "environment": environment,
    "tests": tests,
    "sanitizer": sanitizer,
    "transfer": transfer,
    "sweep": sweep,
    "timeline": timeline,
}


def run_phase(name: str, device: str, out: Path, minutes: float) -> bool:
    """Adds the phase to DIR/results.json; says whether it went well."""
    results_file = out / "results.json"
    results = json.loads(results_file.read_text()) if results_file.exists() else {}
    print(f"[{name}] …", flush=True)
    begin = time.monotonic()
    with (out / "log.txt").open("a") as log:
        print(f"\n===== {name}", file=log)
        phase = Phase(device, out, begin + minutes * 60, log)
        try:
            entry: dict[str, Any] = {"found": PHASES[name](phase)}
        except (PhaseError, OSError, ValueError) as error:
            entry = {"problem": str(error)}
    entry["seconds"] = round(time.monotonic() - begin, 1)
    entry["device"] = device
    results[name] = entry
    results_file.write_text(json.dumps(results, indent=1) + "\n")
    print(f"[{name}] {entry.get('problem', 'done')}, {entry['seconds']} s", flush=True)
    return "problem" not in entry


def write_report(out: Path, device: str) -> None:
    """DIR/report.md: what the phases printed, as a page."""
    results = json.loads((out / "results.json").read_text())
    lines = [f"# {device}", ""]
    if device == FAKE:
        lines += ["A rehearsal on a simulated accelerator. ITS FIGURES MEAN NOTHING.", ""]
    for name, entry in results.items():
        lines += [f"## {name}: {entry['seconds']} s", ""]
        found = entry.get("found", {})
        printed = found.pop("printed", "")
        found.pop("report", None)
        text = entry.get("problem") or printed or json.dumps(found, indent=1)
        lines += ["```", text.strip(), "```", ""]
    (out / "report.md").write_text("\n".join(lines))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "on-device", metavar="DIR")
    parser.add_argument("--phase", action="append", choices=PHASES, help="may be repeated")
    parser.add_argument("--device", default="cuda", help=f"cuda, xpu, or {FAKE}")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="at most, for a phase")
    parser.add_argument("--list", action="store_true", help="what there is")
    options = parser.parse_args()
    if options.list:
        for name, function in PHASES.items():
            print(f"{name:12}{(function.__doc__ or '').splitlines()[0]}")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    names = options.phase or PHASES
    went_well = [run_phase(n, options.device, options.out, options.minutes) for n in names]
    write_report(options.out, options.device)
    print(f"see {options.out / 'report.md'}")
    return int(not all(went_well))


if __name__ == "__main__":
    sys.exit(main())
