"""Builds and tests in a fresh environment for each supported Python, torch, NumPy and compiler.

    python tests/run_matrix.py            all rows, one after another
    python tests/run_matrix.py 3.10 clang some
    python tests/run_matrix.py world world-torchvision
    python tests/run_matrix.py --list     what there is

A row is a virtual environment, an installation from a copy of this source tree, the tests on the
host and those on the fake accelerator; or tests/world alone, and the libraries that it is for. It
goes on after a row that fails; the table comes at the end, and the output of each row is kept in a
file. Packages come from the index that pip is set to; a row with a CUDA build of torch takes 6 GB
of disk until it is done. For 3.13t an interpreter is built from Debian's source where there is
none.
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
import time
import xml.etree.ElementTree
from pathlib import Path
from typing import IO

import tomllib

from support.build_python import build_free_threaded
from support.interpreters import find_clang, find_python

ROOT = Path(__file__).resolve().parent.parent
NOT_COPIED = (".git", ".venv", "build", "dist", "*.egg-info", "*.so", "__pycache__", ".*_cache")
STEP_SECONDS = 1800  # a step that takes longer is ended

# The fake accelerator has a step of its own; the others are the same in every row.
NOT_RUN = (
    *("test_on_device.py", "sources/test_native.py", "installation/test_pip_versions.py"),
    "world",
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
TEST_REQUIREMENTS = EXTRAS["test"]
BUILD_REQUIREMENTS = PROJECT["build-system"]["requires"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One combination of versions."""

    about: str
    python: str
    packages: tuple[str, ...]
    isolated: bool = True  # False: pip install --no-build-isolation --no-deps
    clang: bool = False
    of_the_system: bool = False  # the distribution's interpreter; timings follow the tests
    extra: str = ""  # of the project: its libraries are installed, and tests/world alone is run


ROWS = {
    "3.10": Row("the oldest of all", "3.10", ("torch==2.8.0", "numpy==1.26.*")),
    "3.11": Row("what is developed with", "3.11", ("torch==2.13.0",)),
    "3.12": Row(
        "setuptools and torch of a GPU machine, built without isolation",
        "3.12",
        ("torch==2.11.0", "numpy==2.5.*", "setuptools>=77,<82"),
        isolated=False,
    ),
    "3.13": Row("", "3.13", ("torch==2.13.0",)),
    "torch-2.14": Row("", "3.11", ("torch==2.14.1",)),
    "newest": Row("the newest torch", "3.11", ("torch",)),
    "clang": Row("the newest clang, or the one in CXX", "3.11", ("torch==2.13.0",), clang=True),
    "system": Row(
        "the distribution's interpreter, and timings",
        "3.11",
        ("torch==2.13.0",),
        of_the_system=True,
    ),
    "world": Row("the libraries of the extra", "3.11", ("torch==2.13.0",), extra="world"),
    "world-torchvision": Row(
        "those that want torchvision", "3.11", ("torch==2.13.0",), extra="world-torchvision"
    ),
    "3.13t": Row("free-threaded", "3.13t", ("torch==2.11.0", "numpy==2.4.*")),
}


class StepError(Exception):
    """A step of a row failed: what the table says."""


@dataclasses.dataclass
class Result:
    """What the table says of a row."""

    versions: str = ""
    build: str = ""
    host: str = ""
    fake: str = ""
    problem: str = ""
    failed: bool = False


class Runner:
    """Runs the steps of one row in a folder of its own."""

    def __init__(
        self, name: str, row: Row, folder: Path, log: IO[str], options: tuple[str, ...]
    ) -> None:
        """`options`: of pytest."""
        self.name, self.row, self.folder, self.log, self.options = name, row, folder, log, options
        self.source = folder / "source"
        self.python = folder / "venv" / "bin" / "python"
        self.result = Result()
        hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CXX", "PIP_REQUIRE_VIRTUALENV")
        kept = {k: v for k, v in os.environ.items() if k not in hidden}
        self.environment = kept | {
            "TENSORLIFT_WERROR": "1",
            "TENSORLIFT_TORCH_PYTHON": str(self.python),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_CONSTRAINT": os.devnull,  # the row alone says which versions
        }

    def step(self, what: str, *command: str, check: bool = True, **more: str) -> float:
        """Runs a command in the copy of the tree; gives the seconds that it took."""
        print(f"[{self.name}] {what} …", flush=True)
        print(f"\n=== {what}: {' '.join(command)}", file=self.log, flush=True)
        begin = time.monotonic()
        with subprocess.Popen(
            command,
            cwd=self.source,
            env=self.environment | more,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that all it starts can be ended together
        ) as process:
            try:
                status = process.wait(STEP_SECONDS)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise StepError(f"{what}: not done after {STEP_SECONDS} s") from None
                raise
        if check and status != 0:
            raise StepError(f"{what}: exit status {status}")
        return time.monotonic() - begin

    def run(self) -> None:
        interpreter = find_python(self.row.python, of_the_system=self.row.of_the_system)
        if interpreter is None and self.row.python.endswith("t"):
            print(f"[{self.name}] an interpreter, from its source: 10 minutes …", flush=True)
            interpreter = build_free_threaded(self.row.python, ROOT / "build")
        if interpreter is None:
            raise StepError(f"not run: no interpreter python{self.row.python}")
        if self.row.clang:
            clang = find_clang()
            if clang is None:
                raise StepError("not run: no clang++")
            self.environment["CXX"] = clang
        shutil.copytree(ROOT, self.source, ignore=shutil.ignore_patterns(*NOT_COPIED))
        self.step("environment", str(interpreter), "-m", "venv", str(self.folder / "venv"))
        self.install()
        self.versions()
        if self.row.extra:
            self.result.host = self.tests("other libraries", "--all", "tests/world")
            return
        self.result.host = self.tests(
            "host tests", "tests", *(f"--ignore=tests/{p}" for p in NOT_RUN)
        )
        self.result.fake = self.tests(
            "fake accelerator", "tests/device", TENSORLIFT_TEST_DEVICE="fake"
        )
        if self.row.of_the_system:
            self.step("timings", str(self.python), "-m", "tensorlift", "bench", "--quick")

    def install(self) -> None:
        pip = [str(self.python), "-m", "pip", "install", "-q"]
        pip += ["--prefer-binary"]  # few packages have wheels of a free-threaded Python
        packages = [*TEST_REQUIREMENTS, *self.row.packages]
        packages += EXTRAS[self.row.extra] if self.row.extra else []
        if self.row.isolated:
            self.step("packages", *pip, *packages)
            seconds = self.step("build", *pip, ".")
        else:
            self.step("packages", *pip, *packages, *BUILD_REQUIREMENTS)
            seconds = self.step("build", *pip, "--no-build-isolation", "--no-deps", ".")
        self.result.build = f"{seconds:.0f} s"

    def versions(self) -> None:
        command = [str(self.python), "-m", "tensorlift", "info", "--json"]
        printed = subprocess.check_output(command, cwd=self.folder, env=self.environment, text=True)
        info = json.loads(printed)
        shown = (info[what] for what in ("python", "torch", "compiler"))
        numpy = f"NumPy {info['numpy']}"
        python, torch, compiler = shown
        self.result.versions = f"{python} | {torch} | {numpy} | {compiler}"

    def tests(self, what: str, *options: str, **environment: str) -> str:
        report = self.folder / f"{what.replace(' ', '-')}.xml"
        pytest = [str(self.python), "-m", "pytest", "-q", f"--junitxml={report}", *self.options]
        if self.row.python.endswith("t"):
            environment["PYTHON_GIL"] = "0"  # some tests let torch import Triton, which wants one
        self.step(what, *pytest, *options, check=False, **environment)
        if not report.exists():
            raise StepError(f"{what}: ended without a report")
        passed, failures, skipped = read_report(report)
        for test in failures:
            print(f"[{self.name}]   FAILED {test}", flush=True)
        self.result.failed |= bool(failures) or not passed
        return f"{passed} passed, {len(failures)} failed, {skipped} skipped"


def read_report(file: Path) -> tuple[int, list[str], int]:
    """Of a JUnit report: how many passed, which did not, and how many were skipped."""
    cases = list(xml.etree.ElementTree.parse(file).getroot().iter("testcase"))
    failures = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return len(cases) - len(failures) - skipped, failures, skipped


def run_row(name: str, row: Row, folder: Path, long: bool, keep: bool) -> Result:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begin = time.monotonic()
    with (folder.parent / f"{name}.log").open("w") as log:
        runner = Runner(name, row, folder, log, ("--all",) if long else ())
        try:
            runner.run()
        except (StepError, OSError, subprocess.CalledProcessError) as error:
            runner.result.problem, runner.result.failed = str(error), True
    if not keep:
        shutil.rmtree(folder)
    print(f"[{name}] done in {time.monotonic() - begin:.0f} s; see {log.name}", flush=True)
    return runner.result


def print_table(results: dict[str, Result]) -> None:
    print("\n| row | Python | torch | NumPy | compiler | build | host tests | fake accelerator | |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, r in results.items():
        versions = r.versions or " | ".join([""] * 4)
        print(f"| {name} | {versions} | {r.build} | {r.host} | {r.fake} | {r.problem} |")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="which; all by default")
    parser.add_argument("--list", action="store_true", help="show the rows, and run nothing")
    parser.add_argument("--all", action="store_true", help="the long tests as well")
    parser.add_argument("--keep", action="store_true", help="keep environments and copies")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "matrix", help="where to (build/matrix)"
    )
    options = parser.parse_args()
    if options.list:
        for name, row in ROWS.items():
            print(f"{name:19}Python {row.python:6}{', '.join(row.packages):50}{row.about}")
        return 0
    if unknown := set(options.rows) - ROWS.keys():
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    results: dict[str, Result] = {}
    try:
        for name in options.rows or ROWS:
            folder = options.folder.resolve() / name
            results[name] = run_row(name, ROWS[name], folder, options.all, options.keep)
    finally:
        print_table(results)
    return int(any(result.failed for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
