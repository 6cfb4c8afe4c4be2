"""The way back, one tensor at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy.typing as npt
import torch


def to_numpy(
    tensors: Iterable[torch.Tensor], /, *, copy: bool | None = None
) -> list[npt.NDArray[Any]]:
    """See :func:`tensorlift.to_numpy`."""
    return [_to_numpy(index, tensor, copy) for index, tensor in enumerate(tensors)]


def _to_numpy(index: int, tensor: torch.Tensor, copy: bool | None) -> npt.NDArray[Any]:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"tensors[{index}]: expected a torch.Tensor, got {type(tensor).__name__}.")
    if tensor.device.type != "cpu" and copy is False:
        raise ValueError(f"tensors[{index}]: expected a tensor on the CPU with copy=False.")
    array: npt.NDArray[Any]
    if tensor.dtype == torch.bfloat16:  # of those that NumPy does not have, the one that is common
        import ml_dtypes

        array = tensor.cpu().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    else:
        array = tensor.cpu().numpy()
    return array.copy(order="K") if copy else array
