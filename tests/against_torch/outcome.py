"""What a call did, described so that two calls can be compared: its result, storages and strides
included; what it raised; what it warned of."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

# What torch does with np.bool_, which NumPy 2 allows.
OF_NUMPY_1 = ("DeprecationWarning", "In future, it will be an")


class Outcome(NamedTuple):
    result: Any  # as described(); None where it raised
    error: type[BaseException] | None
    warned: frozenset[tuple[str, str]]  # category, the first words
    text: str  # of the exception


def outcome(call: Callable[..., Any], *arguments: Any) -> Outcome:
    torch.set_warn_always(True)  # also where it warns once a process
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result, error, text = described(call(*arguments)), None, ""
    except Exception as raised:
        result, error, text = None, type(raised), str(raised)
    finally:
        torch.set_warn_always(False)
    texts = [(w.category.__name__, " ".join(str(w.message).split()[:6])) for w in caught]
    said = frozenset(text for text in texts if text != OF_NUMPY_1)
    return Outcome(result, error, said, text)


def described(value: Any) -> Any:
    """As tuples, text and bytes, which compare."""
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray):
        return type(value).__name__, value.dtype.str, value.shape, value.strides, repr(value)
    if isinstance(value, Mapping):
        items = tuple((repr(key), described(value[key])) for key in value)
        return type(value).__name__, items
    if isinstance(value, (str, bytes, bytearray, range, memoryview)):
        return type(value).__name__, bytes(value) if isinstance(value, memoryview) else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return type(value).__name__, tuple(
            (name, described(getattr(value, name))) for name in names
        )
    if isinstance(value, Sequence):
        return type(value).__name__, tuple(described(value[i]) for i in range(len(value)))
    if isinstance(value, float):
        return type(value).__name__, repr(value)
    if type(value).__eq__ is object.__eq__:
        return type(value).__name__
    return type(value).__name__, repr(value)


def _tensor(tensor: torch.Tensor) -> Any:
    kind = [
        type(tensor).__name__,
        getattr(tensor, "label", None),
        str(tensor.dtype),
        str(tensor.layout),
        str(tensor.device),
        tensor.requires_grad,
        tensor.is_leaf,
        tensor.is_inference(),
    ]
    if tensor.is_nested:
        return (*kind, "nested", tuple(map(_tensor, tensor.unbind())))
    if tensor.layout != torch.strided:
        return (*kind, tuple(tensor.shape), _tensor(tensor.to_dense()))
    kind += [tuple(tensor.shape), tensor.stride(), tensor.storage_offset()]
    storage = tensor.untyped_storage()
    kind += [storage.nbytes(), storage.resizable(), tensor.is_conj(), tensor.is_neg()]
    if tensor.is_meta:
        return tuple(kind)
    if tensor.is_quantized:
        try:
            return (*kind, tensor.q_scale(), bytes_of(tensor.int_repr()))
        except RuntimeError:  # torch's own batch of a worker has lost it
            return (*kind, "no quantizer")
    return (*kind, bytes_of(tensor))


def bytes_of(tensor: torch.Tensor) -> bytes:
    with torch.no_grad():
        plain = tensor.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg()
        flat = plain.clone(memory_format=torch.contiguous_format).reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()
