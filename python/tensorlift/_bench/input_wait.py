"""How long a training loop on an accelerator waits for its input, beside what its steps take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from .. import DevicePrefetcher, collate
from .._text import format_table
from .harness import Extra, Result

_BATCH = 32


class _Images(Dataset[Any]):
    """Images as decoders give them, made by each worker once."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.image = np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.image, "label": index}


def _sent_on(loader: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """As training loops do it today."""
    for batch in loader:
        yield {key: value.to(device, non_blocking=True) for key, value in batch.items()}


def input_wait(device: torch.device, rounds: int, quick: bool) -> Extra:
    """Epochs of both ways, turn by turn, around the same steps."""
    dataset = _Images(count=(4 if quick else 40) * _BATCH, size=32 if quick else 224)
    options: dict[str, Any] = {"batch_size": _BATCH, "num_workers": 2, "persistent_workers": True}
    pinning = DataLoader(dataset, pin_memory=True, **options)
    plain = DataLoader(dataset, collate_fn=collate, **options)
    ways: dict[str, Callable[[], Iterable[Any]]] = {
        "DevicePrefetcher": lambda: DevicePrefetcher(plain, device),
        "pin_memory=True, .to(non_blocking)": lambda: _sent_on(pinning, device),
    }
    factor = torch.rand(64 if quick else 4096, 64 if quick else 4096).to(device)
    product = torch.empty_like(factor)

    def step(products: int) -> None:
        for _ in range(products):
            torch.mm(factor, factor, out=product)

    def epoch(batches: Iterable[Any], products: int) -> float:
        """Seconds; labels are checked, at the end and on the device."""
        seen = torch.zeros((), dtype=torch.int64, device=device)
        torch.accelerator.synchronize()
        begin = time.perf_counter()
        for batch in batches:
            seen += batch["label"].sum()
            step(products)
        torch.accelerator.synchronize()
        seconds = time.perf_counter() - begin
        if seen.item() != len(dataset) * (len(dataset) - 1) // 2:
            raise AssertionError("the labels of an epoch are not those of the dataset")
        return seconds

    for way in ways.values():
        epoch(way(), 1)  # workers start
    torch.accelerator.synchronize()
    begin = time.perf_counter()
    step(50)
    torch.accelerator.synchronize()
    one_product = (time.perf_counter() - begin) / 50
    fastest = epoch(ways["DevicePrefetcher"](), 0) / (len(dataset) // _BATCH)
    products = max(1, round(1.1 * fastest / one_product))  # as long as a batch takes to come
    labels = [
        {"label": torch.arange(i, i + _BATCH, device=device)}
        for i in range(0, len(dataset), _BATCH)
    ]

    alone: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        alone.append(epoch(labels, products))
        for name, way in ways.items():
            times[name].append(epoch(way(), products))
    steps = statistics.median(alone)
    rows: list[tuple[str, ...]] = []
    results: list[Result] = []
    for name, seconds in times.items():
        median = statistics.median(seconds)
        share = max(0.0, 1 - steps / median)
        rows.append((name, f"{median * 1e3:.1f} ms", f"{share:.0%}"))
        results.append({"way": name, "epoch_ms": median * 1e3, "wait": share})
    header = ("way", "epoch", "waiting for input")
    text = f"Epochs of {len(labels)} steps, which alone take {steps * 1e3:.1f} ms:\n\n"
    text += format_table(header, rows, right=header[1:])
    case = {"case": "input wait", "steps_ms": steps * 1e3, "results": results}
    return Extra(text, case)
