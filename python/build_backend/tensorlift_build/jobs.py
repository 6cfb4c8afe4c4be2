"""How many compiler processes at a time: as many as there are cores, and as memory has room for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

MEMORY_OF_A_JOB = 5 << 28  # 1.25 GiB; the largest unit took 0.9 GiB with GCC 12

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
# Version 2, then version 1: the limit, what is used, and what of that are pages of files, which the
# kernel gives up when memory is asked for.
_CGROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def _text(file: Path) -> str:
    """What is in it; nothing where it is missing or may not be read."""
    try:
        return file.read_text()
    except OSError:
        return ""


def _free_memory(proc: Path) -> Iterator[int]:
    """What the whole system could give, where it says so."""
    for line in _text(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) << 10


def _cgroups(proc: Path, root: Path) -> Iterator[Path]:
    """The control groups that bound this process's memory, and those that these lie in."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / "memory" if controllers else root
        folder = base / path.lstrip("/")
        # In a container the path may be the host's: then only the base is there, its own group.
        yield from (group for group in (folder, *folder.parents) if group.is_relative_to(base))


def _free_in(group: Path) -> Iterator[int]:
    for limit_name, used_name, reclaimable_name in _CGROUP_FILES:
        limit, used = _text(group / limit_name).strip(), _text(group / used_name).strip()
        if not (limit.isdecimal() and used.isdecimal()):
            continue  # "max": no limit; or a group of the other version, or none
        statistics = _text(group / "memory.stat").splitlines()
        reclaimable = dict(line.split(maxsplit=1) for line in statistics)
        yield int(limit) - int(used) + int(reclaimable.get(reclaimable_name, 0))


def available_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """Bytes that this process and its children can use; None where the system does not say."""
    groups = _cgroups(proc, cgroups)
    free = [*_free_memory(proc), *(nbytes for group in groups for nbytes in _free_in(group))]
    return max(min(free), 0) if free else None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_jobs() -> int:
    """MAX_JOBS where that is set; otherwise the cores, or as many jobs as memory has room for.

    Raises:
        SystemExit: MAX_JOBS is no number of jobs.
    """
    if chosen := os.environ.get("MAX_JOBS"):
        if not chosen.isdecimal() or int(chosen) < 1:
            raise SystemExit(f"tensorlift: expected MAX_JOBS of 1 or more, got {chosen!r}.")
        return int(chosen)
    jobs, memory = _cores(), available_memory()
    if memory is None or memory >= jobs * MEMORY_OF_A_JOB:
        return jobs
    fewer = max(memory // MEMORY_OF_A_JOB, 1)
    if fewer < jobs or memory < MEMORY_OF_A_JOB:
        print(
            f"tensorlift: {memory / 2**30:.1f} GiB of memory are available, and a compiler process "
            f"takes up to {MEMORY_OF_A_JOB / 2**30} GiB: compiling with {fewer} instead of {jobs} "
            "at a time. MAX_JOBS sets another number.",
            file=sys.stderr,
        )
    return fewer
