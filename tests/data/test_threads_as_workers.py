"""The manual's loaders on threads, as they stand there."""

from __future__ import annotations

import collections
import re
import textwrap
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, SequentialSampler

import tensorlift
from support.tree import ROOT

MANUAL = (ROOT / "python" / "docs" / "loaders.md").read_text()


class Samples:
    """20 samples; which thread read each, and one that cannot be read."""

    def __init__(self, broken: int = -1) -> None:
        self.broken = broken
        self.threads: set[int] = set()

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.threads.add(threading.get_ident())
        if index == self.broken:
            raise OSError(f"cannot read {index}")
        return {"x": np.full((4, 4), index, np.float32), "i": index}


def recipe(begins: str, **names: Any) -> dict[str, Any]:
    """What the manual's block of code that contains this defines."""
    blocks = re.findall(r"```python\n(.*?)```", MANUAL, re.DOTALL)
    (block,) = [block for block in blocks if begins in block]
    namespace = {"tensorlift": tensorlift, "torch": torch, **names}
    exec(textwrap.dedent(block), namespace)
    return namespace


def on_a_pool(dataset: Samples, **options: int) -> Any:
    defined = recipe(
        "def batches_of", ThreadPoolExecutor=ThreadPoolExecutor, collections=collections
    )
    indices = BatchSampler(SequentialSampler(dataset), 4, drop_last=False)
    return defined["batches_of"](dataset, indices, **options)


def numbers(batches: Any) -> list[list[int]]:
    return [batch["i"].tolist() for batch in batches]


IN_ORDER = [list(range(i, i + 4)) for i in range(0, 20, 4)]


@pytest.mark.parametrize("ahead", [0, 1, 4, 99])
def test_batches_come_in_order_from_other_threads(ahead):
    dataset = Samples()
    batches = list(on_a_pool(dataset, ahead=ahead))
    assert numbers(batches) == IN_ORDER
    assert threading.get_ident() not in dataset.threads
    for batch in batches:
        assert batch["x"].shape == (4, 4, 4)
        assert batch["x"][:, 1, 2].tolist() == batch["i"].tolist()


def test_an_exception_is_raised_where_its_batch_would_come():
    batches = on_a_pool(Samples(broken=9))
    assert numbers([next(batches), next(batches)]) == IN_ORDER[:2]
    with pytest.raises(OSError, match="cannot read 9") as raised:
        next(batches)
    assert "__getitem__" in "".join(traceback.format_tb(raised.value.__traceback__))


def test_leaving_the_loop_ends_the_threads():
    before = threading.active_count()
    batches = on_a_pool(Samples())
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_a_prefetcher_takes_them():
    assert numbers(tensorlift.DevicePrefetcher(list(on_a_pool(Samples())), "cpu")) == IN_ORDER


def test_nodes_of_torchdata():
    pytest.importorskip("torchdata.nodes")
    dataset = [Samples()[i % 20] for i in range(600)]
    loader = recipe("nodes.ParallelMapper", dataset=dataset)["loader"]
    for _ in range(2):
        assert [batch["x"].shape for batch in loader] == [(256, 4, 4)] * 2
