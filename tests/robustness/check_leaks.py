"""Does memory that the native module allocated become unreachable? LeakSanitizer's answer.

Run by `python tests/run_with_sanitizers.py --parts leaks`, with the sanitized module.

Python, NumPy and torch leave unreachable memory behind, so "no leaks at all" cannot be had. What is
asked instead: of the leaks that LeakSanitizer finds after every kind of call was made often, with
errors in between, does any have a frame of tensorlift's module in the stack that allocated it?

Objects that Python's garbage collector tracks, and what those own, are always reachable through its
lists: a lost reference to one of them is not seen here, but by accounting.py.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support import kinds
from tensorlift import _C

# Leaks with our module in their stack that are none: (words in the stack, reason).
SUPPRESSED: list[tuple[str, str]] = []


def leak_report() -> str:
    """What LeakSanitizer writes."""
    check = ctypes.CDLL(None).__lsan_do_recoverable_leak_check
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            check()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        return file.read().decode(errors="replace")


def records(report: str) -> list[str]:
    return [r for r in report.split("\n\n") if re.search(r"(Direct|Indirect) leak of", r)]


def main() -> int:
    module = Path(_C.__file__).name
    calls = kinds.host_kinds()
    for _ in range(30):
        for kind in calls:
            items = kind.items(20)
            kind.call(items)
            for position in range(len(items)):
                kind.fail_at(items, position)
    gc.collect()
    report = leak_report()
    found = records(report)
    if not found and "SUMMARY" in report:
        raise SystemExit("expected leak records, cannot read the report:\n" + report[:2000])
    ours = [r for r in found if module in r and not any(words in r for words, _ in SUPPRESSED)]
    for record in ours:
        print(record, end="\n\n")
    print(f"{len(calls)} kinds of calls: {len(found)} leaks of the process, {len(ours)} ours")
    return bool(ours)


if __name__ == "__main__":
    sys.exit(main())
