"""The native module; see csrc/binding/bindings.cpp. Use the functions of the package instead."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from typing_extensions import Unpack

built_for_torch: str
alone_from_bytes: int

_Entry: TypeAlias = tuple[
    Literal["shared", "copied", "rejected"],
    str,
    tuple[int, ...] | None,
    np.dtype[Any] | torch.dtype | None,
    torch.dtype | None,
    int,
    str | None,
]

# With how it is sent, and where it is cast.
_SentEntry: TypeAlias = tuple[
    Unpack[_Entry],
    Literal["packed", "pinned", "plain"] | None,
    Literal["host", "device"] | None,
]
_Transfer: TypeAlias = tuple[torch.device, int, int, int, int]
_Explained: TypeAlias = tuple[
    list[_Entry] | list[_SentEntry],
    tuple[int, ...] | None,
    torch.dtype | None,
    str | None,
    _Transfer | None,
]

def from_numpy(
    arrays: object,
    dtype: object,
    device: object,
    copy: object,
    readonly: object,
    pin_memory: object,
    non_blocking: object,
    stream: object,
    pack: object,
    threads: object,
    /,
) -> list[torch.Tensor]: ...
def convert(
    tree: object,
    dtype: object,
    device: object,
    copy: object,
    readonly: object,
    pin_memory: object,
    non_blocking: object,
    stream: object,
    pack: object,
    threads: object,
    /,
) -> Any: ...
def stack(
    arrays: object,
    dim: object,
    dtype: object,
    channel_dim: object,
    channel_order: object,
    scale: object,
    mean: object,
    std: object,
    memory_format: object,
    out: object,
    pin_memory: object,
    device: object,
    non_blocking: object,
    stream: object,
    threads: object,
    /,
) -> torch.Tensor: ...
def cat(
    arrays: object,
    dim: object,
    dtype: object,
    channel_dim: object,
    memory_format: object,
    out: object,
    pin_memory: object,
    device: object,
    non_blocking: object,
    stream: object,
    threads: object,
    /,
) -> torch.Tensor: ...
def pad(
    arrays: object,
    padding_value: object,
    padding_side: object,
    pad_to_multiple_of: object,
    max_length: object,
    truncate: object,
    mask: object,
    mask_dim: object,
    dtype: object,
    channel_dim: object,
    channel_order: object,
    scale: object,
    mean: object,
    std: object,
    memory_format: object,
    out: object,
    pin_memory: object,
    device: object,
    non_blocking: object,
    stream: object,
    threads: object,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]: ...
def jagged(
    arrays: object,
    offsets_dtype: object,
    dtype: object,
    out: object,
    pin_memory: object,
    device: object,
    non_blocking: object,
    stream: object,
    threads: object,
) -> tuple[torch.Tensor, torch.Tensor]: ...
def pack(
    arrays: object,
    max_tokens: object,
    strategy: object,
    truncate: object,
    dtype: object,
    pin_memory: object,
    device: object,
    non_blocking: object,
    stream: object,
    threads: object,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]: ...
def position_ids(offsets: torch.Tensor) -> torch.Tensor: ...
def explain(arrays: object, dtype: object, copy: object, readonly: object) -> list[_Entry]: ...
def send_tensors(
    tensors: object, device: object, non_blocking: object, stream: object, threads: object
) -> list[torch.Tensor]: ...
def send_into(
    tensors: list[torch.Tensor],
    out: list[torch.Tensor],
    transfer: tuple[object, object, object, object],
) -> None: ...
def can_send_to(device: object) -> bool: ...
def check_device_name(device: object) -> None: ...
def check_normalize(scale: object, mean: object, std: object, channel_order: object) -> None: ...
def check_padding(
    padding_value: object,
    padding_side: object,
    pad_to_multiple_of: object,
    max_length: object,
    truncate: object,
    mask: object,
    mask_dim: object,
) -> None: ...
def check_offsets_dtype(dtype: object) -> None: ...
def check_threads(threads: object) -> None: ...
def collate(
    samples: object,
    fn_map: object,
    options_for: object,
    memory: str | None,
    transfer: tuple[object, object, object, object] | None,
    out: object,
    check: Callable[[], None] | None,
    /,
) -> Any: ...
def to_numpy(tensors: object, copy: object, /) -> list[npt.NDArray[Any]]: ...
def explain_sent(
    arrays: object, dtype: object, device: object, non_blocking: object, pack: object
) -> tuple[list[_SentEntry], str | None, _Transfer | None] | None: ...
def explain_pack(
    arrays: object,
    max_tokens: object,
    strategy: object,
    truncate: object,
    dtype: object,
    device: object,
    non_blocking: object,
) -> tuple[Unpack[_Explained], tuple[tuple[int, ...], ...] | None]: ...
def explain_batch(
    arrays: object,
    operation: str,
    dim: object,
    padding_value: object,
    pad_to_multiple_of: object,
    max_length: object,
    truncate: object,
    mask: object,
    mask_dim: object,
    offsets_dtype: object,
    dtype: object,
    channel_dim: object,
    channel_order: object,
    scale: object,
    mean: object,
    std: object,
    memory_format: object,
    device: object,
    non_blocking: object,
) -> _Explained: ...
def empty_cache() -> None: ...
def cached_bytes() -> int: ...
def empty_pinned(shape: object, dtype: object) -> npt.NDArray[Any]: ...
def staging() -> tuple[int, int, int]: ...
def set_staging(chunk_bytes: object, buffers: object, threads: object) -> None: ...
def staging_bytes() -> int: ...
def has_segments() -> bool: ...
def can_look_up_descriptors() -> bool: ...

class SegmentHold: ...

def place_in_segment(tensor: torch.Tensor) -> tuple[Any, ...] | None: ...
def offer_segment(
    segment: SegmentHold, is_looked_up: bool
) -> tuple[tuple[int, ...], int | None]: ...
def accept_offer(offer: object, descriptor: object) -> SegmentHold: ...
def tensor_in_segment(place: tuple[object, ...]) -> torch.Tensor: ...
def received_pages(tensor: torch.Tensor) -> tuple[int, int, int, object] | None: ...
def close_segment_pool() -> None: ...
def idle_segment_bytes() -> int: ...
def idle_received_bytes() -> int: ...
def default_threads() -> int: ...
