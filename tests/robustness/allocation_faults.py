"""Lets every allocation of every kind of call fail, one after another.

    python tests/robustness/allocation_faults.py [--device fake] [--kinds WORD ...]

For each kind the call is made with its first allocation failing, then with its second, until it
makes so many that none fails any more. Each must end in a MemoryError or RuntimeError, or in the
right answer; references must stay even; the next call must give the right answer. That once for the
allocations of C and C++ (fail_allocations.c is preloaded) and once for Python's own (`_testcapi`),
and each time with that one allocation failing and, for Python's, with all from it on.

A call that crashes ends the process; the last line that was printed names it.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import pickle
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("fail_allocations.c")
IS_PRELOADED = "TENSORLIFT_TEST_PRELOADED"


def preload_and_run_again() -> None:
    """Builds the library and starts this program anew with it; does not return."""
    with tempfile.TemporaryDirectory(prefix="tensorlift-faults-") as folder:
        library = Path(folder, "fail_allocations.so")
        compiler = shlex.split(os.environ.get("CC") or "cc")
        command = [*compiler, "-O1", "-shared", "-fPIC", "-fno-builtin", str(SOURCE), "-o"]
        subprocess.run([*command, str(library)], check=True)
        environment = os.environ | {"LD_PRELOAD": str(library), IS_PRELOADED: "1"}
        status = subprocess.run([sys.executable, *sys.argv], env=environment).returncode
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__" and IS_PRELOADED not in os.environ:
    preload_and_run_again()
os.environ.pop("LD_PRELOAD", None)  # from here on for this process alone

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


import torch  # noqa: E402

import tensorlift  # noqa: E402
from support import kinds  # noqa: E402

LIST = 5
LIMIT = 5000  # allocations of a call; kinds are small
# pickle makes an error of its own of a MemoryError.
EXPECTED: tuple[type[Exception], ...] = (MemoryError, RuntimeError, pickle.PicklingError)
if torch.__version__.startswith("2.8."):
    EXPECTED += (SystemError,)  # by torch's own functions, of which unbind() calls one


class NativeFaults:
    """Allocations of malloc's family, on this thread."""

    name = "C"
    can_fail_for_ever = False  # torch's own code ends the process where all allocations fail

    def __init__(self) -> None:
        library = ctypes.PyDLL(None)  # keeps the GIL, so that nothing else runs meanwhile
        self._fail = library.fail_allocations
        self._fail.argtypes = [ctypes.c_long, ctypes.c_long]
        self.stop = library.stop_failing
        self.stop.restype = ctypes.c_long

    def fail(self, number: int, for_ever: bool) -> None:
        """The allocation with this number fails, counted from 1 and from now on."""
        self._fail(number, number)

    def is_still_to_come(self, number: int) -> bool:
        """Whether there were fewer. To be asked before stop()."""
        return int(self.stop()) < number


class PythonFaults:
    """Allocations of all of Python's domains."""

    name = "Python"
    can_fail_for_ever = True

    def __init__(self) -> None:
        import _testcapi

        self._fail = _testcapi.set_nomemory
        self.stop = _testcapi.remove_mem_hooks

    def fail(self, number: int, for_ever: bool) -> None:
        self._fail(number - 1, 0 if for_ever else number)

    def is_still_to_come(self, number: int) -> bool:
        """Nobody tells how many there were, but the one that fails can be looked for."""
        try:
            for _ in range(number):
                object()
        except MemoryError:
            return True
        return False


# Functions with variables that inner functions use: where such a call cannot allocate a variable's
# cell, Python up to 3.12 loses references to its arguments, the samples among them.
REFERENCES_LOST_BY_PYTHON = {"collate", "convert"} if sys.version_info < (3, 13) else set()


# Python's own threads wait for ever where a new one cannot allocate, its dictionaries' iterators
# crash (3.11), and the fake accelerator allocates when it frees. What the prefetcher calls is
# what "convert to a device" calls. What is normalised on the device is sent as bytes, whose memory
# there is freed within the call.
NOT_TRIED = {"DevicePrefetcher", "stack, normalised on a device"}


class Finding(Exception):
    """What must not happen."""


def note_ignored(ignored: sys.UnraisableHookArgs) -> None:
    """Generators that cannot be closed for want of memory say so here; nothing else may."""
    if ignored.exc_type is not MemoryError:
        print(f"ignored {ignored.exc_value!r} in {ignored.object!r}")
        os._exit(1)


def references(items: list[Any]) -> list[int]:
    return [sys.getrefcount(item) for item in items]


def attempt(
    kind: kinds.Kind, items: list[Any], faults: Any, number: int, for_ever: bool
) -> tuple[Any, BaseException | None, bool]:
    """The result or the error of one call, and whether the failing allocation is still to come."""
    result = error = None
    call = kind.call
    faults.fail(number, for_ever)
    try:
        result = call(items)
        is_over = not for_ever and faults.is_still_to_come(number)
    except BaseException as caught:
        error = caught
        if isinstance(error, EXPECTED):
            error.__traceback__ = None  # has this frame, which has the error: no cycles
        is_over = False
    finally:
        faults.stop()
    return result, error, is_over


def check(kind: kinds.Kind, faults: Any, for_ever: bool, limit: int) -> tuple[int, int]:
    """How many allocations failed, and how many calls that ended with an error."""
    items = kind.items(LIST)
    expected = kind.call(items)
    kind.call(items)
    gc.collect()
    before = references(items)
    errors = 0
    for number in range(1, limit + 1):
        tensorlift.empty_cache()  # memory is asked for, not taken from what is kept
        result, error, is_over = attempt(kind, items, faults, number, for_ever)
        where = f"{kind.name}: allocation {number} of {faults.name}"
        if error is not None:
            errors += 1
            if not isinstance(error, EXPECTED):
                raise Finding(f"{where}: {error!r}") from error
        elif not kinds.same(result, expected):
            raise Finding(f"{where}: a wrong answer")
        del result, error
        if references(items) != before:
            gc.collect()
            if faults.name == "Python" and kind.name.split()[0] in REFERENCES_LOST_BY_PYTHON:
                before = references(items)
            if references(items) != before:
                raise Finding(f"{where}: references {before} became {references(items)}")
        if not kinds.same(kind.call(items), expected):
            raise Finding(f"{where}: the next call's answer is wrong")
        if is_over:
            return number - 1, errors
    return limit, errors


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["fake"], help="the kinds that send to it")
    parser.add_argument("--kinds", nargs="*", default=[""], help="words of their names")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    chosen = kinds.host_kinds()
    if arguments.device:
        import fake_accelerator

        fake = fake_accelerator.load()
        fake.set_mode(fake.EAGER)
        chosen = kinds.device_kinds("fakeacc")
    chosen = [kind for kind in chosen if any(word in kind.name for word in arguments.kinds)]
    chosen = [kind for kind in chosen if kind.name not in NOT_TRIED]
    sys.unraisablehook = note_ignored
    native = NativeFaults()
    figures: dict[str, int] = {"C": 0, "Python": 0, "errors": 0}
    for kind in chosen:
        for faults in (native, PythonFaults()):
            print(f"{kind.name}: {faults.name}", end=" ", flush=True)
            failed, errors = check(kind, faults, False, LIMIT)
            if failed == LIMIT:
                raise Finding(f"{kind.name}: more than {LIMIT} allocations")
            if faults.can_fail_for_ever:
                errors += check(kind, faults, True, failed)[1]
                failed *= 2
            print(f"{failed} faults, {errors} errors", flush=True)
            figures[faults.name] += failed
            figures["errors"] += errors
    print(
        f"{len(chosen)} kinds: {figures['C']} faults in C, {figures['Python']} in Python, "
        f"{figures['errors']} errors"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
