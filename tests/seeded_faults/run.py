"""Runs tests/device under seeded faults: python tests/seeded_faults/run.py LIBRARY, and names.

LIBRARY was built from what `source.py` writes, and takes the place of the installed one. Each line
of the input is the name of a fault, or "none"; it is answered by a line of JSON: "noticed_by", the
first test that fails under it, or null, and "output", what pytest printed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import sys
import tempfile
import time
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from pathlib import Path

TESTS = Path(__file__).parent.parent
SECONDS_PER_FAULT = 30  # a fault that makes a test wait for ever need not be waited for
SECONDS_WITHOUT = 300  # all tests pass, on a machine that is busy as well
FILES = (
    "transfer",
    "empty_pinned",
    "batches_on_device",
    "device_collate_out",
    "device_out",
    "device_explain",
)


class FaultyBuild:
    """Finds tensorlift._C where the build with faults is."""

    def __init__(self, library: str) -> None:
        self.library = library

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name != "tensorlift._C":
            return None
        loader = ExtensionFileLoader(name, self.library)
        return importlib.util.spec_from_file_location(name, self.library, loader=loader)


def run_tests(fault: str, output: Path) -> None:
    """In a child process that never returns."""
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["TENSORLIFT_TEST_FAULT"] = fault
    import pytest

    # In this order: the first have a time limit where a fault would let them wait for ever.
    files = [str(TESTS / "device" / f"test_{name}.py") for name in FILES]
    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-k", "not hypothesis"]
    code = pytest.main([*options, *files])
    sys.stdout.flush()
    os._exit(int(code))


def noticed_by(fault: str, output: Path) -> str | None:
    """The test that fails under the fault, "hangs" or "crashes"; None if all pass."""
    pid = os.fork()
    if pid == 0:
        run_tests(fault, output)
    deadline = time.monotonic() + (SECONDS_WITHOUT if fault == "none" else SECONDS_PER_FAULT)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hangs"
        time.sleep(0.02)
    if os.waitstatus_to_exitcode(status) == 0:
        return None
    text = output.read_text(errors="replace")
    failed = re.search(r"^FAILED \S*?(\w+\.py::\S+)", text, re.MULTILINE)
    return failed.group(1) if failed else "crashes"


def main() -> None:
    (library,) = sys.argv[1:]
    sys.meta_path.insert(0, FaultyBuild(library))
    os.environ["TENSORLIFT_TEST_DEVICE"] = "fake"
    sys.path.insert(0, str(TESTS))
    import fake_accelerator
    import tensorlift  # noqa: F401

    fake_accelerator.load()  # nothing is used yet, so the children may
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, "output")
            found = noticed_by(line.strip(), output)
            answer = {"noticed_by": found, "output": output.read_text(errors="replace")}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
