"""To a device: Tensor.to(), on the stream that was asked for."""

from __future__ import annotations

import contextlib

import torch

from .._typing import Device


def check_device(
    device: Device | None,
    non_blocking: bool,
    stream: torch.Stream | None,
    *,
    pin_memory: bool = False,
    out: torch.Tensor | None = None,
) -> torch.device | None:
    """The device with its index, that of `out` where none is named; None for the host's memory."""
    if not isinstance(non_blocking, bool):
        raise TypeError(f"non_blocking: expected True or False, got {non_blocking!r}.")
    if not isinstance(pin_memory, bool):
        raise TypeError(f"pin_memory: expected True or False, got {pin_memory!r}.")
    if device is None and isinstance(out, torch.Tensor) and out.device.type != "meta":
        device = out.device
    resolved = None if device is None else _resolved(device)
    if resolved is None or resolved.type == "cpu":
        if stream is not None:
            raise ValueError(f"stream: expected None without an accelerator, got {stream!r}.")
        return None
    if stream is not None and not isinstance(stream, torch.Stream):
        raise TypeError(f"stream: expected a torch.Stream or None, got {stream!r}.")
    if stream is not None and stream.device != resolved:
        raise ValueError(f"stream: expected a stream of {resolved}, got one of {stream.device}.")
    if pin_memory:
        raise ValueError("pin_memory: expected False with a device, got True.")
    return resolved


def _resolved(device: Device) -> torch.device:
    if isinstance(device, bool) or not isinstance(device, (torch.device, str, int)):
        raise TypeError(f"device: expected a torch.device, its name or an index, got {device!r}.")
    try:
        parsed = torch.device(device)
        if parsed.type == "meta":
            raise ValueError("device: expected a device with memory, got meta.")
        return torch.empty(0, device=parsed).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device: expected a device that torch can use, got {device!r}."
        ) from error


def on_device(
    tensor: torch.Tensor, device: torch.device | None, stream: torch.Stream | None
) -> torch.Tensor:
    """The tensor, or its copy on the device. Waits."""
    if device is None or tensor.device == device:
        return tensor
    with contextlib.nullcontext() if stream is None else stream:
        return tensor.to(device)
