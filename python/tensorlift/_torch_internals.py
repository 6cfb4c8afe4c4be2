"""All private names of torch's Python half that tensorlift uses.

What of torch's C++ internals is used stands, with an assertion for each of these, in
tests/sources/test_torch_internals.py.
"""

from __future__ import annotations

import contextlib
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch.utils._device import DeviceContext
from torch.utils.data._utils import collate as torch_collate
from torch.utils.data._utils import worker

__all__ = [
    "DeviceContext",
    "HostRegistration",
    "disabled_torch_function",
    "extra_reducers",
    "function_modes",
    "has_function_modes",
    "host_registration",
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


class HostRegistration:
    """Page-locks memory of the host where it lies, for a device: `cudaHostRegister`.

    For CUDA and ROCm, whose runtimes torch gives under the same names, and for a device whose
    module has a `cudart` as well.
    """

    _PORTABLE = 1  # for all devices of the runtime

    def __init__(self, cudart: Any, device: torch.device) -> None:
        self._cudart = cudart
        self._device = device

    def register(self, address: int, nbytes: int) -> bool:
        """False where the runtime refuses."""
        if int(self._cudart.cudaHostRegister(address, nbytes, self._PORTABLE)) == 0:
            return True
        # The runtime reports its last error once more, to whoever launches the next kernel.
        with contextlib.suppress(RuntimeError):
            torch.empty(1, device=self._device).fill_(0)
        return False

    def unregister(self, address: int) -> None:
        """To be called before the memory is unmapped, and after all copies from it have run."""
        self._cudart.cudaHostUnregister(address)


def host_registration(device: torch.device) -> HostRegistration | None:
    """None where the device's runtime cannot, or torch does not give it."""
    cudart = getattr(torch.get_device_module(device), "cudart", None)
    return None if cudart is None else HostRegistration(cudart(), device)
