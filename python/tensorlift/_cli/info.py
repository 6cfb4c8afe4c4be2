"""What a bug report needs: versions, builds, the machine, and what changes behaviour."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from pathlib import Path

import torch

from .. import _C
from .._text import format_bytes, format_table, printable
from . import machine as _machine

# Only these: an environment holds secrets.
_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "PYTORCH_CUDA_ALLOC_CONF"),
    *("PYTORCH_ALLOC_CONF", "LD_PRELOAD", "MALLOC_ARENA_MAX", "ATEN_CPU_CAPABILITY"),
    "PYTHONMALLOC",
)
_CPU_FLAGS = ("sse4_2", "avx", "f16c", "avx2", "fma", "avx512f", "asimd", "sve")


def _compiler() -> str:
    """What the extension says of its compiler; GCC and clang leave a note in what they make."""
    binary = Path(_C.__file__).read_bytes()
    notes = re.findall(rb"(?:GCC: \([^)\0]*\) [\d.]+|clang version [\d.]+)", binary)
    return ", ".join(sorted({note.decode(errors="replace") for note in notes})) or "unknown"


def _cpu_flags() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    present = match[1].split() if match else []
    return " ".join(flag for flag in _CPU_FLAGS if flag in present) or "unknown"


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return "unknown"
    available = _machine.available_memory()
    free = "" if available is None else f", {format_bytes(available)} available"
    return f"{format_bytes(total)}{free}"


def _shared_memory() -> str:
    if not os.path.isdir("/dev/shm"):
        return "no /dev/shm"
    usage = shutil.disk_usage("/dev/shm")
    return f"{format_bytes(usage.total)}, {format_bytes(usage.free)} free (/dev/shm)"


def _sharing_strategy() -> str:
    return str(torch.multiprocessing.get_sharing_strategy())  # type: ignore[no-untyped-call]


def _limits() -> str:
    try:
        import resource
    except ImportError:
        return "unknown"

    def limit(kind: int) -> str:
        soft = resource.getrlimit(kind)[0]
        return "unlimited" if soft == resource.RLIM_INFINITY else str(soft)

    return f"{limit(resource.RLIMIT_NOFILE)} open files, {limit(resource.RLIMIT_MEMLOCK)} B locked"


def _accelerators() -> list[str]:
    """Each by its name and memory, as far as torch says."""
    device = torch.accelerator.current_accelerator()
    if device is None or not torch.accelerator.is_available():
        return ["none"]
    count = torch.accelerator.device_count()
    if device.type != "cuda":
        return [f"{device.type}:{index}" for index in range(count)]
    properties = [torch.cuda.get_device_properties(index) for index in range(count)]
    return [
        f"cuda:{index} {p.name}, {format_bytes(p.total_memory)}, compute {p.major}.{p.minor}"
        for index, p in enumerate(properties)
    ]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def facts(version: str) -> dict[str, str | list[str]]:
    """All of it by topic, as text or as a list of lines.

    Args:
        version: tensorlift's own version.
    """
    libc = " ".join(platform.libc_ver()).strip() or "unknown"
    return {
        **_machine.describe(version),
        "compiler": _compiler(),
        "cpu flags": _cpu_flags(),
        "cpu capability": f"{torch.backends.cpu.get_cpu_capability()} (of torch's own loops)",
        "libc": libc,
        "memory": _memory(),
        "shared memory": _shared_memory(),
        "sharing strategy": _sharing_strategy(),
        "limits": _limits(),
        "accelerator": _accelerators(),
        "environment": [f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ],
        "torch build": _lines(torch.__config__.show()),
        "torch threads": _lines(torch.__config__.parallel_info()),
    }


def as_text(version: str) -> str:
    """A table, and below it what has many lines."""
    known = facts(version)
    short = [(name, fact) for name, fact in known.items() if isinstance(fact, str)]
    long = [(name, fact) for name, fact in known.items() if isinstance(fact, list)]
    blocks = [format_table(("what", "which"), short)]
    blocks += [
        "\n  ".join([f"{name}:", *(map(printable, lines) if lines else ["none of note"])])
        for name, lines in long
    ]
    return "\n\n".join(blocks)


def as_json(version: str) -> str:
    """The same for programs."""
    return json.dumps(facts(version), indent=1)
