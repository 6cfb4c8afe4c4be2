"""Batches into tensors that are there already: the caller's tree beside that of the batch."""

from __future__ import annotations

import sys
from typing import Any

import torch

from .. import _C
from .._torch_internals import tensors_are_plain, worker
from .send import LARGE, is_sent, send, send_plainly
from .tree import Attribute, Path, leaves_of, map_leaves, path_text


def device_of(out: Any) -> torch.device:
    """Of the first tensor: all are to be where that is."""
    for _, leaf in leaves_of(out):
        if isinstance(leaf, torch.Tensor):
            return leaf.device
    return torch.device("cpu")


def refuse_in_worker() -> None:
    """A worker's batch lies in shared memory, which the main process reads while it goes on."""
    if worker._worker_info is not None:
        raise ValueError(
            "out: expected None in a worker of a DataLoader, whose batches lie in shared memory, "
            "got buffers. Use num_workers=0, or tensorlift.DevicePrefetcher(loader, device, "
            "into=buffers) around the loader."
        )


def copied_into(batch: Any, out: Any, name: str = "out") -> Any:
    """The batch with its tensors copied to those of `out`, which stand in their places then.

    On the current stream, where they are on a device. Nothing is copied where one does not fit.
    """
    leaves = [leaf for _, leaf in leaves_of(batch)]
    targets = rows_for(batch, out, name)
    pairs = [(leaf, row) for leaf, row in zip(leaves, targets, strict=True) if row is not None]
    if all(_is_gathered(leaf, row) for leaf, row in pairs) and tensors_are_plain():
        _C.send_into(
            [leaf for leaf, _ in pairs], [row for _, row in pairs], (None, True, None, None)
        )
        return with_targets(batch, targets)
    with torch.no_grad():
        for leaf, row in pairs:
            row.copy_(leaf, non_blocking=True)
    return with_targets(batch, targets)


def _is_gathered(leaf: torch.Tensor, row: torch.Tensor) -> bool:
    """Whether the native call copies it, which reads all before it overwrites any."""
    return row.device.type == "cpu" and is_sent(leaf, own_copy_bytes=sys.maxsize)


def with_targets(batch: Any, targets: list[torch.Tensor | None]) -> Any:
    """The batch with these in the places of its leaves, but for None."""
    remaining = iter(targets)

    def replaced(leaf: Any) -> Any:
        target = next(remaining)
        return leaf if target is None else target

    return map_leaves(replaced, batch, keep=True)


def rows_for(batch: Any, out: Any, name: str) -> list[torch.Tensor | None]:
    """For each leaf of the batch the rows of `out` that it belongs to; None: it stays as it is."""
    targets = []
    taken = set()
    for path, leaf in leaves_of(batch):
        target = _at(out, path, name)
        if not isinstance(target, torch.Tensor):
            target = None
        if target is not None:
            taken.add(id(target))
            target = _rows(target, leaf, _text(name, path))
        targets.append(target)
    for path, leaf in leaves_of(out):
        if isinstance(leaf, torch.Tensor) and id(leaf) not in taken:
            raise ValueError(
                f"{_text(name, path)}: expected None, because the batch has nothing there, got a "
                "tensor. Pass a tree like that of the batch."
            )
    return targets


class Slot:
    """Memory on the device for a batch that is sent ahead, of the shape of the caller's tensors."""

    def __init__(self, into: Any, device: torch.device, stream: torch.Stream) -> None:
        def like(leaf: Any) -> Any:
            if not isinstance(leaf, torch.Tensor):
                return leaf
            return torch.empty(leaf.shape, dtype=leaf.dtype, device=device)

        with stream:
            self._tree = map_leaves(like, into, keep=True)
        self._device = device
        self.is_free: torch.Event | None = None  # once this has happened; None: at once

    def send(
        self, batch: Any, *, stream: torch.Stream, threads: int, own_copy_bytes: int = LARGE
    ) -> Any:
        """The batch in this memory, or elsewhere on the device what has no place in it.

        `own_copy_bytes`: as for send().
        """
        batch = send_plainly(batch, torch.device("cpu"))
        leaves = [leaf for _, leaf in leaves_of(batch)]
        rows = rows_for(batch, self._tree, "into")
        if self.is_free is not None:
            stream.wait_event(self.is_free)
        pairs = [(leaf, row) for leaf, row in zip(leaves, rows, strict=True) if row is not None]
        packed = [(leaf, row) for leaf, row in pairs if is_sent(leaf, own_copy_bytes)]
        _C.send_into(
            [leaf for leaf, _ in packed],
            [row for _, row in packed],
            (self._device, True, stream, threads),
        )
        with stream, torch.no_grad():
            for leaf, row in pairs:
                if not is_sent(leaf, own_copy_bytes):
                    row.copy_(leaf, non_blocking=True)
        rest = with_targets(batch, rows)
        return send(rest, self._device, stream, threads, own_copy_bytes=own_copy_bytes)


def check_buffers(tree: Any, device: torch.device, name: str) -> None:
    """Raises where a tensor cannot be written to, is elsewhere, or shares memory with another.

    Or where there is no tree at all.
    """
    seen: list[tuple[int, int]] = []
    for path, leaf in leaves_of(tree):
        if not isinstance(leaf, torch.Tensor):
            if path or leaf is None:
                continue
            raise TypeError(
                f"{name}: expected a tensor or a tree of tensors like that of a batch, got "
                f"{type(leaf).__name__}. Pass an earlier batch, for instance."
            )
        if leaf.device != device:
            wrong = f"a tensor on {device}, got one on {leaf.device}"
        elif leaf.layout != torch.strided or leaf.is_nested:
            wrong = "a strided tensor, got a sparse or nested one"
        elif leaf.requires_grad:
            wrong = "a tensor that needs no gradient, got one that requires grad. Use detach()"
        elif any(begin < _end(leaf) and leaf.data_ptr() < end for begin, end in seen):
            wrong = "memory that no other tensor of the tree has, got some of another's"
        else:
            seen.append((leaf.data_ptr(), _end(leaf)))
            continue
        raise ValueError(f"{_text(name, path)}: expected {wrong}.")


def _end(tensor: torch.Tensor) -> int:
    """The address behind its last element."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in sizes)
    return tensor.data_ptr() + ((last + 1) * tensor.itemsize if tensor.numel() else 0)


def _rows(target: torch.Tensor, leaf: Any, name: str) -> torch.Tensor:
    """The first rows of the target, as many as the leaf has."""
    if not isinstance(leaf, torch.Tensor) or leaf.layout != torch.strided or leaf.is_nested:
        kind = type(leaf).__name__
        raise ValueError(f"{name}: expected None for what is no plain tensor ({kind}), got one.")
    if target.dtype != leaf.dtype:
        raise ValueError(
            f"{name}: expected dtype {leaf.dtype}, got {target.dtype}. Use the batch's dtype, or "
            "cast in the loader: tensorlift.Collate(dtype=)."
        )
    if target.shape == leaf.shape:
        return target
    if target.shape[1:] != leaf.shape[1:] or target.dim() != leaf.dim():
        raise ValueError(
            f"{name}: expected {leaf.shape[0] if leaf.dim() else 0} rows or more of shape "
            f"{tuple(leaf.shape[1:])}, got shape {tuple(target.shape)}."
        )
    if target.shape[0] < leaf.shape[0]:
        raise ValueError(
            f"{name}: expected {leaf.shape[0]} rows or more of shape {tuple(leaf.shape[1:])}, got "
            f"{target.shape[0]}. Make it for the largest batch."
        )
    return target[: leaf.shape[0]]


def _at(out: Any, path: Path, name: str) -> Any:
    node = out
    for k, step in enumerate(path):
        if node is None:
            return None
        try:
            if isinstance(node, torch.Tensor):
                raise TypeError("its rows are no tensors of the tree")
            node = getattr(node, step) if isinstance(step, Attribute) else node[step]
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            if any(inner for inner, _ in leaves_of(node)):
                place = _text(name, path[: k + 1])
                wrong = (
                    f"{place}: expected a tensor, or None for what is to stay as it is, got nothing"
                )
            else:
                place = path_text(None, path[k : k + 1]).removeprefix("data")
                kind = type(node).__name__
                wrong = (
                    f"{_text(name, path[:k])}: expected what has {place} like the batch, got {kind}"
                )
            raise ValueError(f"{wrong}. Pass a tree like that of the batch.") from error
    return node


def _text(name: str, path: Path) -> str:
    return name + path_text(None, path).removeprefix("data")
