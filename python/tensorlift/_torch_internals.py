"""All private names of torch's Python half that tensorlift uses.

What of torch's C++ internals is used stands, with an assertion for each of these, in
tests/sources/test_torch_internals.py.
"""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch.utils._device import DeviceContext
from torch.utils.data._utils import collate as torch_collate
from torch.utils.data._utils import worker

__all__ = [
    "DeviceContext",
    "disabled_torch_function",
    "extra_reducers",
    "function_modes",
    "has_function_modes",
    "new_shared_storage",
    "tensors_are_plain",
    "torch_collate",
    "worker",
]

#: The ``__torch_function__`` of subclasses that want none.
disabled_torch_function = torch._C._disabled_torch_function_impl


def has_function_modes() -> bool:
    """Whether function_modes() are any."""
    return torch._C._len_torch_function_stack() > 0


def function_modes() -> list[Any]:
    """The torch function modes that are in force, the outermost first."""
    return [torch._C._get_function_stack_at(i) for i in range(torch._C._len_torch_function_stack())]


def tensors_are_plain() -> bool:
    """Whether all modes that are in force leave tensors on the CPU alone."""
    return all(
        type(mode) is DeviceContext and mode.device.type == "cpu" for mode in function_modes()
    )


def extra_reducers() -> dict[type, Any]:
    """What multiprocessing pickles with in place of ``__reduce__``; torch registers there, too."""
    return ForkingPickler._extra_reducers  # type: ignore[attr-defined, no-any-return]


def new_shared_storage(nbytes: int) -> torch.UntypedStorage:
    """Shared memory in the way that :func:`torch.multiprocessing.get_sharing_strategy` names."""
    storage: torch.UntypedStorage = torch.UntypedStorage._new_shared(nbytes)  # type: ignore[no-untyped-call]
    return storage
