"""The suite `transfer`: arrays reach an accelerator."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .._cli.errors import CommandError
from .._text import printable
from .harness import Case, Extra, Settings, Suite
from .input_wait import input_wait
from .transfer_cases import all_cases
from .transfer_extras import host_times, overlap, sweep


def find_device(kind: str | None) -> torch.device | None:
    """Torch's accelerator.

    Args:
        kind: the type that it must be of, such as "cuda"; None takes any that has streams and
            page-locked memory, or none.

    Raises:
        CommandError: there is none of that type.
    """
    device = torch.accelerator.current_accelerator(check_available=True)
    if kind is not None and (device is None or kind != device.type):
        raise CommandError(
            f"--device {printable(kind)}: torch finds no such accelerator on this machine"
        )
    if kind is None and device is not None and device.type == "mps":
        return None
    return device


def _count(settings: Settings) -> int:
    return 4 if settings.quick else 64


def _cases(settings: Settings) -> list[Callable[[], Case]]:
    return all_cases(settings.device, _count(settings)) if settings.device is not None else []


def _extras(settings: Settings) -> list[Extra]:
    device, quick, count = settings.device, settings.quick, _count(settings)
    if device is None:
        return []
    extras = [
        host_times(device, count, 5 if quick else 20),
        overlap(device, count, 3 if quick else 10, quick),
        input_wait(device, 2 if quick else 5, quick),
    ]
    if settings.sweep:
        extras.append(sweep(device, count, 1 if quick else 5, quick))
    return extras


SUITE = Suite(
    "transfer",
    "How much faster do arrays reach an accelerator than with torch's own calls, and how near the "
    "bus?",
    _cases,
    _extras,
)
