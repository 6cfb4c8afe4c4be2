"""What tensorlift takes of torch's insides: where it stands, and that this torch still has it.

The next torch that changes one of these fails here, in a line that names it.
"""

from __future__ import annotations

import inspect
import re
import sys
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

import tensorlift
from support.tree import ROOT
from tensorlift import _torch_internals

CSRC = ROOT / "csrc"

# Headers of torch that are no public interface of its C++ library, and what may include them.
PRIVATE_HEADERS = {
    # Tensors are made of their parts, without the dispatcher.
    r"c10/core/(StorageImpl|TensorImpl)\.h": {"memory/tensor_arena.h", "input/tensor_input.h"},
    # Python's tensors, dtypes, devices, streams: structs of torch's extension module.
    r"torch/csrc/.*": {
        "binding/torch_objects.cpp",
        "binding/segment_messages.h",
        "binding/bindings.cpp",
    },
    # Which modes and transformations are in force, and calls past them.
    r"c10/core/impl/(LocalDispatchKeySet|TorchDispatchModeTLS)\.h": {
        "dispatch_guard.h",
        "binding/torch_modes.cpp",
    },
    r"ATen/(PythonTorchFunctionTLS|core/LegacyTypeDispatch)\.h": {
        "dispatch_guard.h",
        "binding/torch_modes.cpp",
    },
    # Devices of any backend.
    r"c10/core/impl/VirtualGuardImpl\.h": {"device/staging.cpp", "device/transfer.h"},
    r"ATen/core/CachingHostAllocator\.h": {
        "device/staging.cpp",
        "device/transfer.cpp",
        "memory/pinned.cpp",
    },
    # Its thread team, which it shows to iterators over tensors alone.
    r"ATen/TensorIterator\.h": {"parallel/openmp_team.cpp"},
    # What the memory profiler is told.
    r"c10/core/(CPUAllocator|impl/alloc_cpu)\.h": {"memory/block_cache.cpp"},
    r"ATen/TensorUtils\.h": {"plan/memory_format.cpp"},
}


@pytest.mark.parametrize("header", PRIVATE_HEADERS)
def test_a_private_header_is_included_where_it_stands(header):
    pattern = re.compile(rf"^#include <{header}>", re.MULTILINE)
    users = {
        str(path.relative_to(CSRC))
        for path in CSRC.rglob("*")
        if path.suffix in (".h", ".cpp") and pattern.search(path.read_text())
    }
    assert users == PRIVATE_HEADERS[header]


def test_private_python_names_stand_in_one_module():
    private = re.compile(r"torch\.utils\.data\._utils(?!\.collate\.)|torch\._C\b|_extra_reducers")
    package = Path(tensorlift.__file__).parent
    users = {
        path.name
        for path in package.rglob("*.py")
        if path.parent.name != "_bench" and private.search(path.read_text())
    }
    assert users == {"_torch_internals.py"}


def test_a_tensor_of_ours_is_made_as_torchs_is():
    (ours,) = tensorlift.from_numpy([np.ones((2, 3), np.float32)])
    torchs = torch.from_numpy(np.ones((2, 3), np.float32))
    assert str(torch._C._dispatch_keys(ours)) == str(torch._C._dispatch_keys(torchs))
    assert ours._version == torchs._version
    assert ours.untyped_storage().nbytes() == torchs.untyped_storage().nbytes()
    stacked = tensorlift.stack([np.ones(3)])
    assert stacked.untyped_storage().resizable() == torch.ones(3).untyped_storage().resizable()


def test_objects_of_torchs_extension_module_are_read():
    array = np.ones(2, np.int16)
    (tensor,) = tensorlift.from_numpy([array], dtype=torch.bfloat16)
    assert tensor.dtype is torch.bfloat16
    batch = tensorlift.stack([np.ones((2, 2, 2))], memory_format=torch.channels_last)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert not tensorlift.Collate(device=torch.device("cpu"))([array])[0].is_cuda


def test_a_function_mode_is_noticed():
    class Mode(TorchFunctionMode):
        pass

    assert _torch_internals.function_modes() == []
    with Mode() as mode:
        assert _torch_internals.function_modes() == [mode]
    with torch.device("cpu"):
        (mode,) = _torch_internals.function_modes()
    assert type(mode) is _torch_internals.DeviceContext
    assert mode.device == torch.device("cpu")


def test_torchs_collate_is_made_of_what_is_replaced():
    module = _torch_internals.torch_collate
    assert set(inspect.signature(module.collate).parameters) == {"batch", "collate_fn_map"}
    assert "collate(batch, collate_fn_map=default_collate_fn_map)" in inspect.getsource(
        module.default_collate
    )
    functions = ("tensor", "numpy_array", "numpy_scalar", "float", "int", "str")
    known = {getattr(module, f"collate_{name}_fn") for name in functions}
    assert set(module.default_collate_fn_map.values()) >= known  # tensordict adds its own


def test_a_subclass_may_turn_torch_functions_off():
    class Plain(torch.Tensor):
        __torch_function__ = torch._C._disabled_torch_function_impl

    assert Plain.__torch_function__ is _torch_internals.disabled_torch_function


def test_a_worker_knows_that_it_is_one():
    assert _torch_internals.worker._worker_info is None
    assert "_worker_info = WorkerInfo(" in inspect.getsource(_torch_internals.worker._worker_loop)


def test_torch_registers_how_tensors_are_sent():
    assert _torch_internals.extra_reducers() is ForkingPickler._extra_reducers
    assert torch.Tensor in _torch_internals.extra_reducers()
    assert torch.UntypedStorage in _torch_internals.extra_reducers()


def test_a_new_shared_storage_is_shared():
    storage = _torch_internals.new_shared_storage(64)
    assert storage.is_shared()
    assert storage.nbytes() == 64


@pytest.mark.skipif(sys.platform != "linux", reason="used on Linux alone")
def test_torchs_threads_are_openmps():
    assert "OpenMP" in torch.__config__.parallel_info()


def test_the_runtime_of_cuda_has_functions_to_register_memory():
    """_torch_internals.HostRegistration calls cudaHostRegister and cudaHostUnregister of it."""
    assert callable(torch.cuda.cudart)
    if torch.backends.cuda.is_built() and torch.cuda.is_available():
        assert callable(torch.cuda.cudart().cudaHostRegister)
        assert callable(torch.cuda.cudart().cudaHostUnregister)
