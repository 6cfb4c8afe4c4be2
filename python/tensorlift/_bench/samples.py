"""The suite `samples`: whatever datasets return becomes a batch, in batches of any size.

A grid of kinds of samples × batch size, each cell against torch's own function. Cells that would
take more than 64 MiB are left out.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate, default_convert
from torch.utils.data._utils.collate import collate as torchs_collate
from torch.utils.data._utils.collate import default_collate_fn_map

from .. import collate, convert, from_numpy, stack
from .._data.collate import collate_for_torch
from .harness import Case, Settings, Suite

SIZES = (1, 2, 4, 8, 32, 64, 256, 2048)
_MOST_BYTES = 64 << 20

Make = Callable[[int], Any]  # a sample from its number

Transition = namedtuple("Transition", "state action reward next_state done")


def _tensor(*shape: int) -> Make:
    return lambda i: torch.full(shape, float(i))


def _array(*shape: int) -> Make:
    return lambda i: np.full(shape, i, np.float32)


def _detection(i: int) -> Any:
    return {
        "image": torch.full((3, 32, 32), float(i)),
        "boxes": [[float(i), 0.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0]],
        "labels": [i % 3, 1],
        "file": f"{i}.jpg",
    }


def _graph(i: int) -> Any:
    edges = np.arange(40, dtype=np.int64).reshape(2, 20)
    return {"x": np.full((16, 8), i, np.float32), "edge_index": edges, "y": float(i), "id": i}


def _transition(i: int) -> Any:
    state = np.full(8, i, np.float32)
    return Transition(state, i % 4, i / 2, state + 1, i % 2 == 0)


def _nested(i: int) -> Any:
    return {"a": [np.full(4, i), (i, 1.5)], "b": {"c": np.ones((2, 2), np.float32)}}


KINDS: dict[str, Make] = {
    "tensor float32(8)": _tensor(8),
    "tensor float32(3,24,24)": _tensor(3, 24, 24),
    "(tensor, int)": lambda i: (torch.full((8,), float(i)), i),
    "dict of tensor, int, str": lambda i: {"x": torch.full((8,), float(i)), "y": i, "n": str(i)},
    "MNIST: tensor(1,28,28), int": lambda i: (torch.full((1, 28, 28), float(i)), i),
    "CIFAR: uint8(32,32,3), int": lambda i: (np.full((32, 32, 3), i % 256, np.uint8), i),
    "ImageNet: tensor(3,224,224), int": lambda i: (torch.full((3, 224, 224), float(i)), i),
    "point cloud: tensor(256,3)": _tensor(256, 3),
    "detection: dict, lists of boxes": _detection,
    "graph: dict of arrays, numbers": _graph,
    "RL transition: namedtuple": _transition,
    "tokens: dict of list of 32 ints": lambda i: {"input_ids": list(range(i, i + 32)), "y": i},
    "row of 30 floats": lambda i: [i + k / 8 for k in range(30)],
    "nested dict, list, tuple": _nested,
    "array float32(8)": _array(8),
    "array float32(3,24,24)": _array(3, 24, 24),
    "(array, int)": lambda i: (np.full(8, i, np.float32), i),
    "dict of 20 float32(16)": lambda i: {f"f{k}": np.full(16, i, np.float32) for k in range(20)},
    "np.float32": np.float32,
    "dict of np.int64, np.float32": lambda i: {"a": np.int64(i), "b": np.float32(i)},
    "int": lambda i: i,
    "float": lambda i: i / 2,
    "bool": lambda i: i % 2 == 0,
    "str": str,
    "dict of 4 str": lambda i: dict.fromkeys("abcd", str(i)),
    "bytes": lambda i: b"%d" % i,
}


def leaves_of(tree: Any) -> list[Any]:
    """Tensors and all else that a batch holds, in order, with the types of its containers."""
    if isinstance(tree, dict):
        return [dict, *(leaf for key, child in tree.items() for leaf in (key, *leaves_of(child)))]
    if isinstance(tree, (list, tuple)):
        return [type(tree), *(leaf for child in tree for leaf in leaves_of(child))]
    return [tree]


def _nbytes(sample: Any) -> int:
    return sum(leaf.nbytes for leaf in leaves_of(sample) if hasattr(leaf, "nbytes"))


def _collated(kind: str, size: int, at_least: float | None) -> Case:
    samples = [KINDS[kind](i) for i in range(size)]
    return Case(
        f"collate {size} x {kind}",
        size,
        {
            "tensorlift.collate": partial(collate, samples),
            "default_collate": partial(default_collate, samples),
        },
        at_least=(at_least,),
        flatten=leaves_of,
        cell=("collate", kind, size),
    )


def _installed(kind: str, size: int) -> Case:
    """What default_collate calls, before and after install()."""
    samples = [KINDS[kind](i) for i in range(size)]
    functions = default_collate_fn_map
    return Case(
        f"default_collate, installed, {size} x {kind}",
        size,
        {
            "installed": partial(collate_for_torch, samples, collate_fn_map=functions),
            "torch's collate": partial(torchs_collate, samples, collate_fn_map=functions),
        },
        flatten=leaves_of,
        cell=("install", kind, size),
    )


def _converted(kind: str) -> Case:
    tree = KINDS[kind](3)
    torch_convert: Callable[[Any], Any] = default_convert
    return Case(
        f"convert one {kind}",
        1,
        {
            "tensorlift.convert": partial(convert, tree),
            "default_convert": partial(torch_convert, tree),
        },
        flatten=leaves_of,
        cell=("convert", kind, 1),
    )


def _np_stack(arrays: Sequence[Any]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))


def _stacked(kind: str, size: int) -> Case:
    items = [KINDS[kind](i) for i in range(size)]
    peer = partial(torch.stack, items) if "tensor" in kind else partial(_np_stack, items)
    return Case(
        f"stack {size} x {kind}",
        size,
        {
            "tensorlift.stack": partial(stack, items),
            "torch.stack" if "tensor" in kind else "from_numpy(np.stack)": peer,
        },
        flatten=leaves_of,
        cell=("stack", kind, size),
    )


def _comprehension(arrays: Sequence[Any]) -> list[torch.Tensor]:
    return [torch.from_numpy(a) for a in arrays]


def _listed(kind: str, size: int) -> Case:
    arrays = [KINDS[kind](i) for i in range(size)]
    return Case(
        f"from_numpy {size} x {kind}",
        size,
        {
            "tensorlift.from_numpy": partial(from_numpy, arrays),
            "[from_numpy(a) for a in arrays]": partial(_comprehension, arrays),
        },
        flatten=leaves_of,
        cell=("from_numpy", kind, size),
    )


def _loading(workers: int, at_least: float) -> Case:
    samples = [KINDS["(tensor, int)"](i) for i in range(4096)]

    def epoch(collate_fn: Callable[[list[Any]], Any]) -> Callable[[], Any]:
        loader: DataLoader[Any] = DataLoader(
            samples,  # type: ignore[arg-type]
            batch_size=64,
            num_workers=workers,
            collate_fn=collate_fn,
            persistent_workers=workers > 0,
        )
        return lambda: list(loader)[-1]

    return Case(
        f"DataLoader, {workers} workers, batches of 64 (tensor, int)",
        4096,
        {"tensorlift.collate": epoch(collate), "default_collate": epoch(default_collate)},
        at_least=(at_least,),
        flatten=leaves_of,
    )


_PROMISED = {
    ("(tensor, int)", 32): 2.5,
    ("(tensor, int)", 256): 2.5,
    ("tensor float32(8)", 32): 3,
    ("tensor float32(8)", 256): 3,
    ("dict of tensor, int, str", 32): 2.5,
    ("dict of tensor, int, str", 256): 2.5,
    ("dict of 20 float32(16)", 256): 30,
}
_LISTED = ("array float32(8)", "array float32(3,24,24)")
_STACKED = ("tensor float32(8)", "tensor float32(3,24,24)", "array float32(8)", "np.float32")


def _cases(settings: Settings) -> list[Callable[[], Case]]:
    sizes = (1, 32) if settings.quick else SIZES
    cases: list[Callable[[], Case]] = []
    for kind, make in KINDS.items():
        fitting = [size for size in sizes if size * _nbytes(make(1)) <= _MOST_BYTES]
        for size in fitting:
            cases.append(partial(_collated, kind, size, _PROMISED.get((kind, size), 1)))
            cases.append(partial(_installed, kind, size))
            if kind in _STACKED:
                cases.append(partial(_stacked, kind, size))
            if kind in _LISTED:
                cases.append(partial(_listed, kind, size))
        cases.append(partial(_converted, kind))
    return [*cases, partial(_loading, 0, 1.3), partial(_loading, 2, 1.5)]


SUITE = Suite(
    "samples",
    "Is any kind of sample, in batches of any size, joined slower than by torch's own functions?",
    _cases,
)
