"""The native module under ThreadSanitizer, on a free-threaded Python that has it as well.

    python tests/run_with_thread_sanitizer.py [--seconds S] [-- PYTEST-ARGUMENT ...]

Builds two interpreters from Debian's source, where they are not there yet (10 minutes each on two
cores), an environment for them (torch: 5 GB), and the module with GCC's sanitizer; all of it lies
in build/ and is used again. Then runs tests/robustness/stress_threads.py, and the tests of what
threads share. A report with a frame of ours is a finding, others are counted; what is hidden stands
in tests/thread_sanitizer.txt.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from run_matrix import BUILD_REQUIREMENTS, ROWS, TEST_REQUIREMENTS
from support.build_python import build_free_threaded
from support.interpreters import find_python

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "thread-sanitizer"
REPORTS = BUILD / "reports"
ROW = ROWS["3.13t"]

TESTS = (
    "tests/robustness/test_free_threading.py",
    "tests/robustness/test_concurrency.py",
    "tests/data/test_threads_as_workers.py",
)
OURS = "_C.cpython"  # in the name of the file of a frame

TSAN_OPTIONS = {
    "suppressions": BUILD / "suppressions.txt",
    "log_path": REPORTS / "report",
    "exitcode": 0,  # reports are read from the files
    "die_after_fork": 0,  # threads of a forked child
    "report_thread_leaks": 0,  # the pool's never end
    "history_size": 7,  # the other access has its stack
}


def environment_of(plain: Path) -> Path:
    """The folder of packages of an environment, made where it is not there yet."""
    folder = BUILD / "venv"
    python = folder / "bin" / "python"
    if not (BUILD / "installed").exists():
        subprocess.run([plain, "-m", "venv", "--clear", folder], check=True)
        packages = [*TEST_REQUIREMENTS, *BUILD_REQUIREMENTS, *ROW.packages]
        options = ["install", "-q", "--prefer-binary"]
        subprocess.run(
            [python, "-m", "pip", *options, *packages],
            env=os.environ | {"PIP_CONSTRAINT": os.devnull},
            check=True,
        )
        (BUILD / "installed").touch()
    return next(folder.glob("lib/python*/site-packages"))


def build_module() -> None:
    """The package with a module under the sanitizer, below BUILD."""
    environment = os.environ | {
        "TENSORLIFT_SANITIZE": "thread",
        # Fences, which it does not see: those of inspect.cpp are between what NumPy writes.
        "CXXFLAGS": "-O1 -Wno-tsan " + os.environ.get("CXXFLAGS", ""),
    }
    command = [BUILD / "venv" / "bin" / "python", "setup.py", "-q", "build"]
    folders = ["--build-base", BUILD / "temporary", "--build-lib", BUILD / "lib"]
    subprocess.run([*command, *folders], cwd=ROOT, env=environment, check=True)


def write_suppressions() -> None:
    """CPython's list of what it knows of itself, and ours."""
    (theirs,) = (ROOT / "build").glob(
        f"python{ROW.python}-tsan-source/Python-*/Tools/tsan/suppressions_free_threading.txt"
    )
    ours = ROOT / "tests" / "thread_sanitizer.txt"
    (BUILD / "suppressions.txt").write_text(theirs.read_text() + ours.read_text())


def reports() -> Iterator[str]:
    for file in sorted(REPORTS.iterdir()):
        for part in file.read_text(errors="replace").split("=" * 18):
            if "WARNING: ThreadSanitizer" in part:
                yield part


def what_is_reported(report: str) -> str:
    """The function in which the first access is."""
    found = re.search(r"#0 (.*?)(?: /.*:\d+)? \((.*?)\+0x", report)
    return f"{found[1]} ({found[2]})" if found else report.strip().splitlines()[0]


def run(what: str, command: list[str], environment: dict[str, str]) -> bool:
    """Runs a command; says what was reported meanwhile. Was nothing wrong?"""
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True)
    began = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    ours = [report for report in reports() if OURS in report]
    others = Counter(what_is_reported(report) for report in reports() if OURS not in report)
    print(*ours, sep="\n")
    print(
        f"{what}: {time.monotonic() - began:.0f} s, exit status {status}, reports: {len(ours)} of "
        f"ours, {sum(others.values())} others"
    )
    print(*(f"  {count} times {where}" for where, count in others.most_common()), sep="\n")
    return status == 0 and not ours


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="of stress_threads.py")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --: other tests")
    arguments = parser.parse_args()
    plain = find_python(ROW.python) or build_free_threaded(ROW.python, ROOT / "build")
    python = build_free_threaded(ROW.python, ROOT / "build", thread_sanitizer=True)
    packages = environment_of(plain)
    build_module()
    write_suppressions()
    environment = os.environ | {
        "PYTHONPATH": f"{BUILD / 'lib'}{os.pathsep}{packages}",
        "PYTHON_GIL": "0",
        "TENSORLIFT_TEST_SANITIZED": "1",
        "TSAN_OPTIONS": ":".join(f"{name}={value}" for name, value in TSAN_OPTIONS.items()),
    }
    pytest = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-q"]
    passed = run("tests", [*pytest, *(arguments.pytest or TESTS)], environment)
    if not arguments.pytest:
        stress = ["tests/robustness/stress_threads.py", "--seconds", str(arguments.seconds)]
        passed &= run("stress", [str(python), *stress], environment)
    return not passed


if __name__ == "__main__":
    sys.exit(main())
