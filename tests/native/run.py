"""Tests of the core without Python: fuzzers, the replay of their corpus, and threads under TSan.

python tests/native/run.py fuzz --runs 1000000 [--target gather|plan]   # needs clang
python tests/native/run.py replay
python tests/native/run.py tsan
python tests/native/run.py coverage                                     # needs clang
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import corpus
import programs

FOUND = programs.BUILD / "native-found"  # what fuzzers find: inputs, and crashes
MAX_INPUT_BYTES = 256
OUTCOMES = {0: "no finding", 72: "interrupted, no finding so far"}  # libFuzzer's exit statuses


def fuzz(target: str, runs: int, jobs: int) -> bool:
    """Fuzzes a target, from the corpus and what was found before on. Was nothing wrong?"""
    program = programs.build(programs.fuzzer(target), jobs)
    corpus.unpack(target, FOUND / target)
    command = [
        *(str(program), str(FOUND / target), f"-artifact_prefix={FOUND}/{target}-"),
        *(f"-runs={runs}", f"-max_len={MAX_INPUT_BYTES}", "-timeout=10", "-reload=0"),
        *("-rss_limit_mb=4096", "-print_final_stats=1"),
    ]
    begin = time.monotonic()
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - begin
    if done.returncode != 0:
        print(done.stderr[-6000:])
    coverage = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", done.stderr)
    executions = re.findall(r"number_of_executed_units:\s*(\d+)", done.stderr)
    if coverage and executions:
        edges, features, inputs = coverage[-1]
        print(
            f"fuzz {target}: {int(executions[-1]):,} executions in {seconds:.0f} s "
            f"({int(executions[-1]) / seconds:,.0f} a second), {edges} edges, {features} features, "
            f"{inputs} inputs, {OUTCOMES.get(done.returncode, 'A FINDING')}"
        )
    return done.returncode == 0


def _run(command: Sequence[str | Path], **environment: str) -> bool:
    """Runs a program and prints the end of what it has to say."""
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    print(done.stdout[-6000:], end="")
    if done.returncode != 0:
        print(done.stderr[-6000:], end="")
    return done.returncode == 0


def merge(target: str, jobs: int) -> bool:
    """Makes a new corpus: of all inputs found the fewest that cover the same edges."""
    program = programs.build(programs.fuzzer(target), jobs)
    corpus.unpack(target, FOUND / target)
    fewest = FOUND / f"{target}-fewest"
    shutil.rmtree(fewest, ignore_errors=True)
    fewest.mkdir()
    if not _run([program, "-merge=1", "-use_counters=0", fewest, FOUND / target]):
        return False
    count = corpus.pack(target, fewest.iterdir())
    print(f"corpus {target}: {count} inputs")
    return True


def replay(target: str, jobs: int) -> bool:
    """Runs the corpus, and nothing else, under address and undefined-behaviour sanitizers."""
    program = programs.build(programs.replayer(target, programs.REPLAY), jobs)
    return _run([program, corpus.text_of(target)])


def tsan(jobs: int) -> bool:
    """Runs what threads share, from the pool to segments, on many of them."""
    program = programs.build(programs.engine_test(), jobs)
    return _run([program], TSAN_OPTIONS="halt_on_error=1")


def coverage(target: str, jobs: int) -> bool:
    """Prints how many lines of csrc the corpus covers."""
    program = programs.build(programs.replayer(target, programs.COVERAGE), jobs)
    raw, profile = program.with_suffix(".profraw"), program.with_suffix(".profdata")
    sources = [
        source for source in programs.FUZZ_TARGETS[target] if programs.is_of_the_core(source)
    ]
    merge_command: list[str | Path] = [programs.clang_tool("llvm-profdata"), "merge"]
    merge_command += [raw, "-o", profile]
    report_command: list[str | Path] = [programs.clang_tool("llvm-cov"), "report", program]
    report_command += [f"-instr-profile={profile}", "-show-region-summary=false"]
    report_command += ["-show-branch-summary=false", *sources]
    return (
        _run([program, corpus.text_of(target)], LLVM_PROFILE_FILE=str(raw))
        and _run(merge_command)
        and _run(report_command)
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    actions = {"fuzz": fuzz, "merge": merge, "replay": replay, "coverage": coverage, "tsan": tsan}
    for name, action in actions.items():
        command = commands.add_parser(name, description=action.__doc__)
        command.add_argument("--jobs", type=int, default=2, help="compilers at the same time")
        if name != "tsan":
            command.add_argument("--target", choices=list(programs.FUZZ_TARGETS), help="or all")
        if name == "fuzz":
            command.add_argument("--runs", type=int, default=100_000, help="of each target")
    return parser.parse_args()


def _passes(options: argparse.Namespace) -> bool:
    if options.command == "tsan":
        return tsan(options.jobs)
    targets = [options.target] if options.target else list(programs.FUZZ_TARGETS)
    if options.command == "fuzz":
        passed = [fuzz(target, options.runs, options.jobs) for target in targets]
    else:
        action = {"merge": merge, "replay": replay, "coverage": coverage}[options.command]
        passed = [action(target, options.jobs) for target in targets]
    return all(passed)


def main() -> int:
    options = _parse()
    try:
        return 0 if _passes(options) else 1
    except programs.MissingToolError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return programs.MISSING_TOOL


if __name__ == "__main__":
    raise SystemExit(main())
