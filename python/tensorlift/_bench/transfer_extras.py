"""What the suite `transfer` measures beside its table."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch

from .. import from_numpy, set_staging, staging
from .._cli.machine import cores
from .._text import format_bytes, format_table, format_time
from .harness import Extra, Result, Ways, shared
from .transfer_cases import large, one_by_one, small


def host_times(device: torch.device, count: int, rounds: int) -> Extra:
    """When the call returns, which is when the host can go on, and when the device has it all."""
    inputs = {"1000 x float32(1024)": small(), f"{count} x float32 of 16 MiB": large(count)}
    rows: list[tuple[str, ...]] = []
    results: list[Result] = []
    for name, arrays in inputs.items():
        nbytes = sum(a.nbytes for a in arrays)
        ways = one_by_one(arrays, device)
        samples: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, call in ways.items():
                begin = time.perf_counter()
                result = call()
                returned = time.perf_counter() - begin
                torch.accelerator.synchronize()
                samples[way].append((returned, time.perf_counter() - begin))
                del result
        for way, pairs in samples.items():
            returned, complete = map(statistics.median, zip(*pairs[1:], strict=True))
            speed = nbytes / complete / 1e9
            rows.append(
                (name, way, format_time(returned), format_time(complete), f"{speed:.3g} GB/s")
            )
            results.append(
                {"input": name, "way": way, "returned_s": returned, "complete_s": complete}
            )
    header = ("arrays", "way", "call returns", "device has it", "speed")
    seconds = results[0]["complete_s"]
    under = "under" if seconds < 0.6e-3 else "NOT UNDER"
    text = format_table(header, rows, right=header[2:])
    text += f"\n\nOurs for {results[0]['input']}: {format_time(seconds)} a call, {under} 0.6 ms."
    return Extra(text, {"case": "when the call returns", "results": results})


def overlap(device: torch.device, count: int, rounds: int, quick: bool) -> Extra:
    """Do copies run beside what the consumer's stream computes, or behind it? By its own events."""
    arrays = large(count)[:16]
    tensors = [t.pin_memory() for t in shared(arrays)]
    ways: Ways = {
        "tensorlift.from_numpy": lambda: from_numpy(arrays, device=device),
        "[pinned.to(non_blocking)]": lambda: [t.to(device, non_blocking=True) for t in tensors],
    }
    size = 64 if quick else 4096
    factor = torch.rand(size, size).to(device)
    product_of_two = torch.empty_like(factor)

    def compute(times: int) -> None:
        for _ in range(times):
            torch.mm(factor, factor, out=product_of_two)

    def span(*work: Callable[[], Any]) -> tuple[float, float]:
        """Milliseconds until the current stream has all of it, and until the host does."""
        stream = torch.accelerator.current_stream()
        begin, end = (torch.Event(device, enable_timing=True) for _ in range(2))
        torch.accelerator.synchronize()
        begin.record(stream)
        called = time.perf_counter()
        results = [call() for call in work]
        returned = time.perf_counter()
        end.record(stream)
        torch.accelerator.synchronize()
        del results
        return begin.elapsed_time(end), (returned - called) * 1e3

    span(partial(compute, 1 if quick else 100))  # an idle device is slow at first
    for call in ways.values():
        span(call)
    one = span(partial(compute, 8))[0] / 8
    busy = partial(compute, math.ceil(60 / one) if one > 0 else 1)

    alone: list[float] = []
    samples: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        alone.append(span(busy)[0])
        for way, call in ways.items():
            samples[way].append((span(call)[0], *span(busy, call)))

    nbytes = sum(a.nbytes for a in arrays)
    compute_ms = statistics.median(alone)
    rows: list[tuple[str, ...]] = []
    results: list[Result] = []
    for way, triples in samples.items():
        transfer_ms, both_ms, host_ms = map(statistics.median, zip(*triples, strict=True))
        shorter = min(compute_ms, transfer_ms)
        share = (compute_ms + transfer_ms - both_ms) / shorter if shorter > 0 else 0.0
        numbers = (compute_ms, transfer_ms, both_ms, host_ms)
        rows.append((way, *(f"{number:.2f} ms" for number in numbers), f"{share:.0%}"))
        results.append(
            {
                "way": way,
                "transfer_ms": transfer_ms,
                "both_ms": both_ms,
                "host_ms": host_ms,
                "overlap": share,
            }
        )
    header = ("way", "compute", "transfer", "both", "host is free after", "overlap")
    text = f"{format_bytes(nbytes)} while the current stream is busy with matrix products:\n\n"
    text += format_table(header, rows, right=header[1:])
    return Extra(
        text,
        {
            "case": "overlap with a busy stream",
            "bytes": nbytes,
            "compute_ms": compute_ms,
            "results": results,
        },
    )


def sweep(device: torch.device, count: int, rounds: int, quick: bool) -> Extra:
    """GB/s for every setting of `tensorlift.staging`, turn by turn."""
    inputs = {
        f"{count} x float32 of 16 MiB": (large(count), 1),
        "1000 x float32(1024)": (small(), 20),
    }
    defaults = staging()
    default = (defaults.threads, defaults.chunk_bytes, defaults.buffers)
    threads = sorted({1, cores(), *(n for n in (2, 4, 8, 12, 16) if n <= cores())})
    chunks = [mib << 20 for mib in ((1, 4) if quick else (1, 2, 4, 8, 16))]
    buffers = (2, 3) if quick else (2, 3, 4)
    settings = [default, *product(threads, chunks, buffers)]

    samples: dict[tuple[str, tuple[int, ...]], list[float]] = {}
    rng = np.random.default_rng(0)
    # In another order each time: what was measured before leaves memory in another state.
    order = [settings[i] for _ in range(rounds) for i in rng.permutation(len(settings))]
    for setting, (name, (arrays, calls)) in product(order, inputs.items()):
        set_staging(threads=setting[0], chunk_bytes=setting[1], buffers=setting[2])
        for call in range(calls + 1):
            torch.accelerator.synchronize()
            begin = time.perf_counter()
            result = from_numpy(arrays, device=device)
            torch.accelerator.synchronize()
            seconds = time.perf_counter() - begin
            del result
            if call > 0:  # the first one pins the buffers
                samples.setdefault((name, setting), []).append(seconds)
    set_staging(threads=default[0], chunk_bytes=default[1], buffers=default[2])

    results: list[Result] = []
    texts: list[str] = []
    for name, (arrays, _) in inputs.items():
        nbytes = sum(a.nbytes for a in arrays)
        speed = {s: nbytes / statistics.median(samples[name, s]) / 1e9 for s in settings}
        header = ("threads", "chunk", *(f"{n} buffers" for n in buffers))
        rows = [
            (str(n), format_bytes(chunk), *(f"{speed[n, chunk, b]:.3g}" for b in buffers))
            for n, chunk in product(threads, chunks)
        ]
        table = format_table(header, rows, right=header)
        best = max(settings, key=speed.__getitem__)
        texts.append(
            f"{name}, GB/s by settings of tensorlift.staging:\n\n{table}\n\n"
            f"Best: {speed[best]:.3g} GB/s with threads={best[0]}, chunk_bytes={best[1]}, "
            f"buffers={best[2]}; with the defaults {speed[default]:.3g} GB/s."
        )
        results += [
            {
                "input": name,
                "threads": setting[0],
                "chunk_bytes": setting[1],
                "buffers": setting[2],
                "gb_per_s": speed[setting],
                "default": setting == default,
                "best": setting == best,
            }
            for setting in settings
        ]
    return Extra(
        "\n\n".join(texts),
        {"case": "sweep of tensorlift.staging", "cores": cores(), "results": results},
    )
