"""What a batch is made of: every item as a tensor of its own, in its shape in the batch."""

from __future__ import annotations

from typing import Any

import torch

from .._torch_internals import disabled_torch_function
from ._convert import (
    CASTABLE,
    check_dtype,
    check_threads,
    copied,
    error_type,
    meaningful_strides,
    plain_array,
    plan_item,
)
from ._normalize import in_order


def read_item(index: int, item: Any, dtype: torch.dtype | None) -> torch.Tensor:
    """A tensor of the item's own dtype and with memory of its own."""
    if not isinstance(item, torch.Tensor):
        entry = plan_item(index, item, dtype, True, "share")
        if entry.action == "rejected":
            raise error_type(entry)(entry.error)
        return copied(plain_array(item))
    if item.layout != torch.strided or item.is_nested or lacks_memory(item):
        raise TypeError(f"arrays[{index}]: expected a strided tensor, got {item.layout}.")
    if item.device.type != "cpu":
        raise ValueError(f"arrays[{index}]: expected a CPU tensor, got one on {item.device}.")
    if needs_gradient(item):
        raise ValueError(f"arrays[{index}]: expected a tensor that needs no gradient.")
    if item.dtype not in CASTABLE:
        raise TypeError(f"arrays[{index}]: expected a tensor of plain numbers, got {item.dtype}.")
    if item.data_ptr() % item.itemsize:  # torch's own loops may crash on it, NumPy's do not
        return copied(item.detach().numpy())
    return item.detach().clone(memory_format=torch.contiguous_format)


def refusal_of_tensors(items: list[Any]) -> str | None:
    """Why they are left to torch: see join(). None: they are not."""
    index = next((i for i, item in enumerate(items) if _is_for_torch(item)), None)
    if index is None:
        return None
    return f"arrays[{index}]: expected a plain tensor, got {type(items[index]).__name__}."


def _is_for_torch(item: Any) -> bool:
    if not isinstance(item, torch.Tensor):
        return False
    if (
        type(item).__torch_function__ is not disabled_torch_function
        and type(item) is not torch.Tensor
    ):
        return True
    if item.layout != torch.strided or item.is_nested or item.device.type != "cpu":
        return True
    is_dual = torch._unpack_dual(item, 0).tangent is not None
    return item.dtype not in CASTABLE or is_dual


def channels_first(
    index: int,
    tensor: torch.Tensor,
    channel_dim: int | None,
    channel_order: str = "rgb",
    *,
    pass_over: bool = False,
) -> torch.Tensor:
    if pass_over and tensor.shape == (0,):
        return tensor
    if channel_dim is None:
        return in_order(index, tensor, channel_order)
    if not -tensor.dim() <= channel_dim < tensor.dim():
        raise IndexError(f"arrays[{index}]: expected a dimension channel_dim={channel_dim}.")
    return in_order(index, tensor.movedim(channel_dim, 0), channel_order)


def models(
    items: list[Any], channel_dim: int | None, channel_order: str = "rgb"
) -> list[torch.Tensor]:
    """Tensors without elements whose strides are the items', where torch can have those."""
    moved = [
        channels_first(index, _model(item), channel_dim, pass_over=True)
        for index, item in enumerate(items)
    ]
    if channel_order == "rgb":
        return moved
    return [torch.empty(model.shape, device="meta") for model in moved]  # their strides are < 0


def _model(item: Any) -> torch.Tensor:
    if isinstance(item, torch.Tensor):
        return torch.empty_strided(item.shape, item.stride(), device="meta")
    array = plain_array(item)
    strides = meaningful_strides(array)
    if any(stride < 0 or stride % array.itemsize for stride in strides):
        return torch.empty(array.shape, device="meta")
    strides = [stride // array.itemsize for stride in strides]
    return torch.empty_strided(array.shape, strides, device="meta")


def read(
    items: list[Any],
    dtype: torch.dtype | None,
    channel_dim: int | None,
    threads: int | None,
    channel_order: str = "rgb",
    *,
    pass_over: bool = False,
) -> list[torch.Tensor]:
    check_dtype(dtype)
    check_threads(threads)
    tensors = [
        channels_first(
            index, read_item(index, item, dtype), channel_dim, channel_order, pass_over=pass_over
        )
        for index, item in enumerate(items)
    ]
    check_date_units(items)
    return tensors


def check_date_units(items: list[Any]) -> None:
    dates = [
        (index, item.dtype.newbyteorder("="))
        for index, item in enumerate(items)
        if not isinstance(item, torch.Tensor) and item.dtype.kind in "mM" and item.size > 0
    ]
    for index, dtype in dates:
        if dtype != dates[0][1]:
            raise TypeError(f"arrays[{index}]: expected {dates[0][1]}, got {dtype}.")


def lacks_memory(tensor: torch.Tensor) -> bool:
    """Whether its storage was made smaller than the tensor."""
    end = (tensor.storage_offset() + reach(tensor)) * tensor.itemsize
    is_here = tensor.device.type == "cpu" and tensor.numel() > 0
    return is_here and tensor.untyped_storage().nbytes() < end


def needs_gradient(tensor: torch.Tensor) -> bool:
    """Of either mode."""
    if tensor.requires_grad and torch.is_grad_enabled():
        return True
    return torch._unpack_dual(tensor, 0).tangent is not None


def reach(tensor: torch.Tensor) -> int:
    """Elements from the first to the last of a tensor, both included."""
    if tensor.numel() == 0:
        return 0
    return 1 + sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )
