"""The way back: a list of tensors to NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch

from .. import _C

# Tensors below this many bytes are fetched from a device together; what is larger is sent alone.
_PACKED_BELOW = 1 << 20
_ALIGNMENT = 64


def to_numpy(
    tensors: Iterable[torch.Tensor], /, *, copy: bool | None = None
) -> list[npt.NDArray[Any]]:
    """One array per tensor: over the same memory for tensors on the CPU.

    As ``[tensor.numpy() for tensor in tensors]``, in one native call. Tensors on a device are
    copied: small ones are gathered there and fetched by one transfer, which this call waits for.

    Args:
        tensors: any sequence or iterable of tensors. bfloat16 and float8 become the dtypes of
            ml_dtypes, which has to be installed for them.
        copy: None copies what is not on the CPU; True copies everything; False raises where a copy
            would be needed.

    Returns:
        One array per tensor, in order; an empty list for an empty list. An array that shares memory
        with a tensor keeps its memory alive, and the tensor can no longer be resized.

    Raises:
        TypeError: an item is no tensor, is not strided, or has a dtype that NumPy does not have.
        RuntimeError: a tensor requires grad, or has a pending conjugation or negation, as for
            :meth:`torch.Tensor.numpy`.
        ValueError: `copy` is False and a tensor is on a device.

    Example:
        >>> import tensorlift, torch
        >>> tensor = torch.arange(3)
        >>> (array,) = tensorlift.to_numpy([tensor])
        >>> tensor[0] = 7
        >>> array
        array([7, 1, 2])
    """
    if isinstance(tensors, (torch.Tensor, Mapping, str, bytes)):
        raise TypeError(
            f"tensors: expected a list of tensors, got {type(tensors).__name__}. "
            "Pass [tensor], or list(mapping.values())."
        )
    items = tensors if isinstance(tensors, list) else list(tensors)
    arrays = _C.to_numpy(items, copy)
    if arrays is not NotImplemented:
        return arrays
    return _C.to_numpy(_on_the_host(items, copy), copy)


def _on_the_host(items: list[Any], copy: bool | None) -> list[Any]:
    """The same list with those tensors fetched that are on a device."""
    by_device: dict[torch.device, list[int]] = {}
    for index, item in enumerate(items):
        if not isinstance(item, torch.Tensor) or item.device.type == "cpu":
            continue
        place = f"tensors[{index}]: expected "
        if copy is False:
            raise ValueError(
                f"{place}a tensor on the CPU with copy=False, got one on {item.device}."
            )
        if item.requires_grad:
            raise RuntimeError(
                f"{place}a tensor that needs no gradient, got one that requires grad. "
                "Use tensor.detach()."
            )
        if item.is_meta or item.layout != torch.strided or item.is_nested:
            raise TypeError(
                f"{place}a strided tensor with elements, got {item.device} {item.layout}."
            )
        by_device.setdefault(item.device, []).append(index)
    fetched = list(items)
    for device, indices in by_device.items():
        small = [i for i in indices if items[i].nbytes < _PACKED_BELOW]
        for index, tensor in zip(small, _fetch([items[i] for i in small], device), strict=True):
            fetched[index] = tensor
        for index in set(indices) - set(small):
            fetched[index] = items[index].resolve_conj().resolve_neg().to("cpu")
    return fetched


def _fetch(tensors: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Contiguous tensors with memory of their own, by one transfer of all their bytes."""
    if not tensors:
        return []
    offsets, end = [], 0
    for tensor in tensors:
        offsets.append(end)
        end += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
    with torch.no_grad():
        there = torch.empty(end, dtype=torch.uint8, device=device)
        for tensor, part in zip(tensors, _parts(there, offsets, tensors), strict=True):
            part.copy_(tensor)
        here = torch.empty(end, dtype=torch.uint8, pin_memory=_C.can_send_to(device))
        here.copy_(there)
        return [part.clone() for part in _parts(here, offsets, tensors)]


def _parts(
    memory: torch.Tensor, offsets: Sequence[int], tensors: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    return [
        memory[offset : offset + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for offset, tensor in zip(offsets, tensors, strict=True)
    ]
