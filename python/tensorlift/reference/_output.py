"""Where a batch is built, and how it becomes the result."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Sequence

import torch

from ._convert import CASTABLE, COMPLEX_WARNING, check_pin_memory, discards_imaginary
from ._layout import promoted_dtype
from ._read import lacks_memory, needs_gradient, reach


def make_output(
    shape: list[int],
    tensors: list[torch.Tensor],
    dtype: torch.dtype | None,
    memory_format: torch.memory_format | None,
    strides: Sequence[int] | None,
    out: torch.Tensor | None,
    pin_memory: bool,
    target: torch.device | None,
) -> torch.Tensor:
    """Where the result is built; `out` itself is written to at the very end.

    `strides` are those that torch chooses where no memory format is asked for; None: contiguous.
    """
    result_dtype = promoted_dtype(tensors) if dtype is None else dtype
    if isinstance(out, torch.Tensor) and dtype is None:
        if not torch.can_cast(result_dtype, out.dtype):
            raise TypeError(f"out: expected a dtype that {result_dtype} can be cast to.")
        result_dtype = out.dtype if out.dtype in CASTABLE else result_dtype
    check_pin_memory(pin_memory)
    if out is not None:
        _check_out(out, shape, result_dtype, target or torch.device("cpu"))
        if pin_memory or memory_format not in (None, torch.contiguous_format):
            raise ValueError("out: expected neither pin_memory nor memory_format with it.")
    if memory_format is None and strides is not None:
        numel = math.prod(shape)
        return torch.empty(numel, dtype=result_dtype, pin_memory=pin_memory).as_strided(
            shape, strides
        )
    memory_format = torch.contiguous_format if memory_format is None else memory_format
    ndim = {torch.channels_last: 4, torch.channels_last_3d: 5}.get(memory_format, len(shape))
    if memory_format == torch.preserve_format or len(shape) != ndim:
        raise ValueError(f"memory_format: expected one for shape {shape}, got {memory_format}.")
    return torch.empty(
        shape, dtype=result_dtype, memory_format=memory_format, pin_memory=pin_memory
    )


def _check_out(
    out: torch.Tensor, shape: list[int], dtype: torch.dtype, device: torch.device
) -> None:
    if not isinstance(out, torch.Tensor):
        raise TypeError(f"out: expected a torch.Tensor or None, got {out!r}.")
    is_filled = list(out.shape) == shape or out.numel() == 0
    fits = out.device == device and is_filled and out.dtype == dtype
    if out.is_inference() and not torch.is_inference_mode_enabled():
        raise ValueError("out: expected a tensor that may be written to, got an inference tensor.")
    if not fits or lacks_memory(out) or needs_gradient(out):
        raise ValueError(f"out: expected a tensor of shape {shape} and {dtype} on {device}.")
    addresses = torch.as_strided(torch.arange(reach(out)), out.shape, out.stride())
    if len(set(addresses.reshape(-1).tolist())) != out.numel():
        raise ValueError("out: expected a tensor whose elements have addresses of their own.")


def finish(
    result: torch.Tensor,
    out: torch.Tensor | None,
    tensors: list[torch.Tensor],
    stream: torch.Stream | None,
    *,
    keeps_format: bool = False,
) -> torch.Tensor:
    if any(discards_imaginary(tensor.dtype, result.dtype) for tensor in tensors):
        warnings.warn(COMPLEX_WARNING, UserWarning, stacklevel=3)
    if out is None:
        return result
    with contextlib.nullcontext() if stream is None else stream:
        if out.shape != result.shape:  # an empty one
            out.resize_(result.shape)
            if keeps_format:
                out.as_strided_(result.shape, result.stride())
        return out.copy_(result)
