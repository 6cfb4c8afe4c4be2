"""Tests of the core without Python: fuzzers, the replay of their corpus, and threads under TSan.

    python tests/native/run.py fuzz --runs 1000000 [--target gather|plan]
    python tests/native/run.py replay
    python tests/native/run.py tsan
    python tests/native/run.py coverage
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import programs
from programs import HERE, ROOT

CORPUS = HERE / "corpus"
FOUND = ROOT / "build" / "native-found"  # what fuzzers have found: new corpus, and crashes
MAX_INPUT_BYTES = 256


def _targets(chosen: str | None) -> list[str]:
    return [chosen] if chosen else list(programs.FUZZ_TARGETS)


def fuzz(target: str, runs: int, jobs: int) -> bool:
    """Fuzzes a target from the corpus on. Was nothing found?"""
    program = programs.build(programs.fuzzer(target), jobs)
    fresh = FOUND / target
    fresh.mkdir(parents=True, exist_ok=True)
    command = [
        *(str(program), str(fresh), str(CORPUS / target)),
        *(f"-runs={runs}", f"-max_len={MAX_INPUT_BYTES}", "-timeout=10", "-print_final_stats=1"),
        *("-reload=0", f"-artifact_prefix={FOUND}/{target}-"),
    ]
    begin = time.monotonic()
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - begin
    coverage = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", done.stderr)
    executions = re.findall(r"number_of_executed_units:\s*(\d+)", done.stderr)
    if done.returncode != 0:
        print(done.stderr[-6000:])
    if coverage and executions:
        edges, features, inputs = coverage[-1]
        print(
            f"fuzz {target}: {int(executions[-1]):,} executions in {seconds:.0f} s "
            f"({int(executions[-1]) / seconds:,.0f} a second), {edges} edges, {features} features, "
            f"{inputs} inputs, {'no finding' if done.returncode == 0 else 'A FINDING'}"
        )
    return done.returncode == 0


def merge(target: str, jobs: int) -> bool:
    """Replaces the corpus by the fewest of its inputs and of those found that cover as much."""
    program = programs.build(programs.fuzzer(target), jobs)
    before = CORPUS / target
    after = FOUND / f"{target}-merged"
    after.mkdir(parents=True, exist_ok=True)
    for file in after.iterdir():
        file.unlink()
    command = [str(program), "-merge=1", str(after), str(before), str(FOUND / target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stderr[-6000:])
        return False
    for file in before.glob("*"):
        file.unlink()
    for file in after.iterdir():
        file.rename(before / file.name[:12])
    print(f"corpus {target}: {len(list(before.iterdir()))} inputs")
    return True


def _run(command: Sequence[str | Path], **environment: str) -> bool:
    done = subprocess.run(command, env=os.environ | environment, check=False)
    return done.returncode == 0


def replay(target: str, jobs: int) -> bool:
    """Runs the corpus, and nothing else, under address and undefined-behaviour sanitizers."""
    program = programs.build(programs.replayer(target, programs.REPLAY), jobs)
    return _run([program, CORPUS / target])


def tsan(jobs: int) -> bool:
    """Runs the pool, the copy engine and the staging ring with many threads."""
    program = programs.build(programs.engine_test(), jobs)
    return _run([program], TSAN_OPTIONS="halt_on_error=1 second_deadlock_stack=1")


def coverage(target: str, jobs: int) -> bool:
    """Prints which lines of csrc the corpus covers."""
    program = programs.build(programs.replayer(target, programs.COVERAGE), jobs)
    raw, profile = program.with_suffix(".profraw"), program.with_suffix(".profdata")
    sources = [source for source in programs.FUZZ_TARGETS[target] if source.parent.name == "csrc"]
    return (
        _run([program, CORPUS / target], LLVM_PROFILE_FILE=str(raw))
        and _run([programs.clang_tool("llvm-profdata"), "merge", raw, "-o", profile])
        and _run(
            [
                *(programs.clang_tool("llvm-cov"), "report", program),
                *(f"-instr-profile={profile}", "-show-region-summary=false"),
                *("-show-branch-summary=false", *sources),
            ]
        )
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="compilers at the same time")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("fuzz", "merge", "replay", "coverage"):
        command = commands.add_parser(name)
        command.add_argument("--target", choices=list(programs.FUZZ_TARGETS), help="default: all")
        if name == "fuzz":
            command.add_argument("--runs", type=int, default=100_000, help="executions a target")
    commands.add_parser("tsan")
    options = parser.parse_args()
    try:
        if options.command == "tsan":
            return 0 if tsan(options.jobs) else 1
        targets = _targets(options.target)
        if options.command == "fuzz":
            passed = [fuzz(target, options.runs, options.jobs) for target in targets]
        else:
            action = {"merge": merge, "replay": replay, "coverage": coverage}[options.command]
            passed = [action(target, options.jobs) for target in targets]
    except programs.MissingToolError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return programs.NO_COMPILER
    return 0 if all(passed) else 1


if __name__ == "__main__":
    raise SystemExit(main())
