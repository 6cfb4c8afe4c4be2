"""What a measurement or a bug report has to say about where it was made."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import torch

from .. import _C


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def busy_cores() -> float:
    """How many all programs kept busy in the last minute; 0 where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping; None where the system does not say."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return None


def _accelerator() -> str:
    device = torch.accelerator.current_accelerator()
    if device is None or not torch.accelerator.is_available():
        return "none"
    count = torch.accelerator.device_count()
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    return f"{count} x {name}"


def describe(version: str) -> dict[str, str]:
    """Versions, build, threads and devices, as text by topic.

    Args:
        version: tensorlift's own version.
    """
    return {
        "tensorlift": f"{version}, built for torch {_C.built_for_torch}",
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda or 'none'}",
        "numpy": np.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processor": f"{_processor()}, {cores()} cores",
        "threads": f"{_C.default_threads()} (torch.get_num_threads())",
        "accelerator": _accelerator(),
    }
