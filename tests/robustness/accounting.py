"""A million arrays of every kind of call, with errors at every place: does anything grow?

    python tests/robustness/accounting.py [--arrays N] [--device fake|cuda|…] [--kinds WORD ...]

For each kind a list of 10 is converted again and again, each time followed by a call that fails at
one of its places, in turn. What is counted before and after must be equal, or nearly so: a leak of
one object in ten calls shows. Counted are references of every item, Python's own blocks,
malloc's bytes in use, resident memory, file descriptors, threads, what tracemalloc has seen (in a
second, shorter run, because it is slow), and with a device what torch says that it has given out.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from support import kinds
from tensorlift import _C

LIST = 10  # items of a list: short, so that there are many calls
ROUNDS = 3  # in each of which a leak must show to be one


class _MallInfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks"),
            *("fordblks", "keepcost"),
        )
    ]


def malloc_bytes() -> int:
    """In use, of the C library; 0 where it does not tell."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return 0
    mallinfo2.restype = _MallInfo
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def threads_left() -> int:
    """Of the process, when all that are about to end have ended."""
    for _ in range(1000):
        python_threads = [t for t in threading.enumerate() if t is not threading.main_thread()]
        if not python_threads:
            break
        time.sleep(0.01)
    return len(python_threads)


def limits(calls: int) -> dict[str, int]:
    """How much may be there after so many calls that was not there before.

    The constants are what a warm process varies by (free lists, caches of NumPy and malloc); the
    rest is less than one small block in ten calls.
    """
    return {
        "references": 0,
        "descriptors": 0,
        "threads": 0,
        "kept bytes": 0,
        "device bytes": 0,
        "pinned bytes": 0,
        "operations": 0,
        "allocated by torch": 0,
        "python blocks": 600 + calls // 10,
        "malloc bytes": (24 << 10) + 2 * calls,
        "traced bytes": (48 << 10) + 2 * calls,
        "resident bytes": (8 << 20) + 2 * calls,
    }


class Meter:
    """Counts what is there now."""

    def __init__(self, items: list[object], of_device: Callable[[], dict[str, int]] = dict) -> None:
        self.items = items
        self.of_device = of_device

    def read(self) -> dict[str, int]:
        while gc.collect():
            pass
        counts = self.of_device() | {
            "references": sum(sys.getrefcount(item) for item in self.items),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": threads_left(),
            "resident bytes": resident_bytes(),
            "kept bytes": _C.cached_bytes(),
        }
        if tracemalloc.is_tracing():  # which has its own notes among malloc's bytes
            counts["traced bytes"] = tracemalloc.get_traced_memory()[0]
        else:
            counts["malloc bytes"] = malloc_bytes()
            counts["python blocks"] = sys.getallocatedblocks()
        return counts


def convert(kind: kinds.Kind, meter: Meter, calls: int) -> None:
    """So many calls, half of which fail, at each place in turn."""
    items = meter.items
    for i in range(calls // 2):
        if i % 500 == 0:
            meter.of_device()  # empties the fake accelerator's log
        kind.call(items)
        kind.fail_at(items, i % len(items))


def grown(kind: kinds.Kind, calls: int, of_device: Callable[[], dict[str, int]]) -> dict[str, int]:
    """What there is more of after so many calls, each of several times if once it was too much.

    A leak grows every time. Malloc's arenas, which threads come upon by chance, grow once.
    """
    meter = Meter(kind.items(LIST), of_device)
    convert(kind, meter, min(calls, 4000))  # caches fill, as far as they ever do
    meter.read()  # its own buffers
    growth: dict[str, int] = {}
    for _ in range(ROUNDS):
        before = meter.read()
        convert(kind, meter, calls)
        after = meter.read()
        round_growth = {name: after[name] - before[name] for name in before}
        growth = {name: min(growth.get(name, new), new) for name, new in round_growth.items()}
        if not too_much(growth, calls):
            break
    return growth


def too_much(growth: dict[str, int], calls: int) -> dict[str, int]:
    """Of what has grown, what is over its limit."""
    allowed = limits(calls)
    return {name: amount for name, amount in growth.items() if amount > allowed[name]}


def account(
    chosen: list[kinds.Kind],
    arrays: int,
    of_device: Callable[[], dict[str, int]],
    say: Callable[[str], None],
) -> list[str]:
    """Findings, one a line."""
    findings = []
    calls = 2 * arrays // LIST  # every second one fails
    for kind in chosen:
        began = time.monotonic()
        plain = grown(kind, calls, of_device)
        tracemalloc.start()
        few = max(calls // 10, 1000)
        traced = grown(kind, few, of_device)
        tracemalloc.stop()
        for growth, count in ((plain, calls), (traced, few)):
            findings += [
                f"{kind.name}: {amount} {name} more after {count} calls"
                for name, amount in too_much(growth, count).items()
            ]
        say(
            f"{kind.name:34} {time.monotonic() - began:6.1f} s  "
            f"python {plain['python blocks']:+5d} blocks, malloc {plain['malloc bytes']:+7d} B, "
            f"resident {plain['resident bytes'] >> 10:+6d} KiB, "
            f"traced {traced['traced bytes']:+6d} B"
        )
    failing = sum(kind.bad is not None for kind in chosen) * calls // 2
    say(
        f"{len(chosen)} kinds, {arrays} arrays each, {failing} calls that failed: "
        f"{len(findings)} findings"
    )
    return findings


def ready_device(name: str) -> tuple[str, Callable[[], dict[str, int]]]:
    """Its name in torch, and what it has given out."""
    if name != "fake":

        def of_torch() -> dict[str, int]:
            torch.accelerator.synchronize()
            return {"allocated by torch": torch.accelerator.memory_allocated()}

        return name, of_torch

    import fake_accelerator

    fake = fake_accelerator.load()
    fake.set_mode(fake.EAGER)  # no queue of operations that are to come

    def of_fake() -> dict[str, int]:
        torch.accelerator.synchronize()
        fake.reset_stats()  # the log
        return {
            "device bytes": fake.live_device_bytes(),
            "pinned bytes": fake.live_pinned_bytes(),
            "operations": fake.pending(),
        }

    return "fakeacc", of_fake


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arrays", type=int, default=1_000_000, help="of each kind")
    parser.add_argument("--device", help="the kinds that send to it: fake, cuda, …")
    parser.add_argument("--kinds", nargs="*", default=[""], help="words of their names")
    arguments = parser.parse_args()
    of_device: Callable[[], dict[str, int]] = dict
    chosen = kinds.host_kinds()
    if arguments.device:
        name, of_device = ready_device(arguments.device)
        chosen = kinds.device_kinds(name)
    chosen = [kind for kind in chosen if any(word in kind.name for word in arguments.kinds)]
    gc.freeze()  # what torch and NumPy have made need not be looked at again and again
    findings = account(chosen, arguments.arrays, of_device, lambda line: print(line, flush=True))
    print(*findings, sep="\n")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
