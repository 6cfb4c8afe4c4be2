"""How much faster do arrays reach an accelerator than with torch's own calls, and how near the bus?

On a machine with a GPU, this one command; it takes a few minutes:

    python benchmarks/bench_transfer.py --json benchmarks/results/transfer-<device>.json --sweep

    python benchmarks/bench_transfer.py [--seconds S] [--json FILE] [--quick] [--only TEXT]
                                        [--device NAME] [--sweep]

Ours and each peer run turn by turn in one process on the same arrays; results are compared before
anything is timed. A time ends when the device has everything: every call is followed by a wait for
the device. A ratio above 1 means that ours is faster. "one copy_ of pinned memory" is no peer but
the limit: the same bytes, page-locked already, in one piece; how near ours comes to it is promised
from 12 cores on. At the end: when the call returns, how far copies overlap a busy stream, and with
--sweep what `tensorlift.staging` had best be set to.

`--device fakeacc` takes the accelerator of tests/fake_accelerator, to see that everything runs.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

import harness
import tensorlift
from tensorlift._text import format_bytes, format_table, format_time

FAKE = "fakeacc"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
LIMIT = "one copy_ of pinned memory"
LARGE = 4 << 20  # float32 elements of a large array: 16 MiB

rng = np.random.default_rng(0)

Way = Callable[[], Sequence[torch.Tensor]]


def find_device(name: str | None) -> torch.device:
    """Torch's accelerator. Without one, or if it is not the one asked for, the program ends."""
    if name == FAKE:
        sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
        import fake_accelerator

        fake_accelerator.load()
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None or (name is not None and name != device.type):
        kind = f"the accelerator {name!r}" if name is not None else "an accelerator"
        print(f"bench_transfer.py needs {kind} that torch can use: there is none.", file=sys.stderr)
        raise SystemExit(2)
    return device


def case(
    name: str, arrays: int, ways: dict[str, Way], at_least: Sequence[float | None] = ()
) -> harness.Case:
    """Each way with a wait for the device at its end."""

    def complete(way: Way) -> Sequence[torch.Tensor]:
        result = way()
        torch.accelerator.synchronize()
        return result

    complete_ways = {title: partial(complete, way) for title, way in ways.items()}
    return harness.Case(name, arrays, complete_ways, with_release=False, at_least=at_least)


def if_it_runs(name: str, way: Way) -> dict[str, Way]:
    """A peer that need not be installed, or work on this machine."""
    try:
        way()
        torch.accelerator.synchronize()
    except Exception as error:
        print(f"left out: {name}: {type(error).__name__}: {error}")
        return {}
    return {name: way}


def shared(arrays: Sequence[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(a) for a in arrays]


# -- arrays; kept, so that the largest are made once


@functools.cache
def small() -> list[np.ndarray]:
    return [rng.random(1024, np.float32) for _ in range(1000)]


@functools.cache
def large(count: int) -> list[np.ndarray]:
    return [rng.random(LARGE, np.float32) for _ in range(count)]


@functools.cache
def images() -> list[np.ndarray]:
    return [rng.integers(0, 256, (224, 224, 3), np.uint8) for _ in range(64)]


# -- lists of tensors


def one_by_one(arrays: list[np.ndarray], device: torch.device) -> dict[str, Way]:
    return {
        "tensorlift.from_numpy": lambda: tensorlift.from_numpy(arrays, device=device),
        "[from_numpy(a).to(device)]": lambda: [torch.from_numpy(a).to(device) for a in arrays],
        "the same, non_blocking": lambda: [
            torch.from_numpy(a).to(device, non_blocking=True) for a in arrays
        ],
    }


def tensor_dict(arrays: list[np.ndarray]) -> Any:
    from tensordict import TensorDict

    return TensorDict({str(i): torch.from_numpy(a) for i, a in enumerate(arrays)}, batch_size=[])


def small_list(device: torch.device) -> harness.Case:
    arrays = small()

    def consolidated() -> list[torch.Tensor]:
        pinned = tensor_dict(arrays).consolidate(pin_memory=True)
        return list(pinned.to(device, non_blocking=True).values())

    ways = one_by_one(arrays, device) | {
        "stack.pin_memory().to().unbind()": lambda: (
            torch.stack(shared(arrays)).pin_memory().to(device, non_blocking=True).unbind()
        ),
        "np.stack, .to().unbind()": lambda: torch.from_numpy(np.stack(arrays)).to(device).unbind(),
    }
    ways |= if_it_runs("TensorDict.consolidate(pin).to", consolidated)
    return case("1000 x float32(1024)", len(arrays), ways, at_least=(15,))


def small_batch(device: torch.device) -> harness.Case:
    arrays = small()

    def by_cupy() -> list[torch.Tensor]:
        import cupy

        return [torch.from_dlpack(cupy.asarray(arrays))]

    ways = stacks(arrays, device)
    if device.type == "cuda":
        ways |= if_it_runs("cupy.asarray(list)", by_cupy)
    return case("stack 1000 x float32(1024)", len(arrays), ways)


def raw_copy(arrays: list[np.ndarray], device: torch.device) -> Way:
    """What the bus can do: the arrays' bytes, page-locked in one piece before, in one copy."""
    pinned = torch.from_numpy(np.stack(arrays)).pin_memory()
    target = torch.empty(pinned.shape, dtype=pinned.dtype, device=device)
    return lambda: target.copy_(pinned, non_blocking=True).unbind()


def large_list(count: int, device: torch.device) -> harness.Case:
    arrays = large(count)

    def pinned_by_threads() -> list[torch.Tensor]:
        options = {"non_blocking_pin": True, "num_threads": CORES}
        return list(tensor_dict(arrays).to(device, **options).values())

    ways = one_by_one(arrays, device) | {LIMIT: raw_copy(arrays, device)}
    ways |= if_it_runs("TensorDict.to(non_blocking_pin)", pinned_by_threads)
    promise = 0.9 if CORES >= 12 else None
    return case(f"{count} x float32 of 16 MiB", count, ways, at_least=(None, None, promise))


def pinned_list(count: int, device: torch.device) -> harness.Case:
    arrays = [tensorlift.empty_pinned(LARGE, np.float32) for _ in range(count)]
    for pinned, values in zip(arrays, large(count), strict=True):
        pinned[...] = values
    tensors = tensorlift.from_numpy(arrays)
    ways: dict[str, Way] = {
        "from_numpy(non_blocking=False)": lambda: tensorlift.from_numpy(
            arrays, device=device, non_blocking=False
        ),
        "[pinned.to(non_blocking)]": lambda: [t.to(device, non_blocking=True) for t in tensors],
        LIMIT: raw_copy(arrays, device),
    }
    return case(f"{count} x 16 MiB of empty_pinned", count, ways)


def mixed_list(device: torch.device) -> harness.Case:
    dtypes = (np.uint8, np.float32, np.int64, np.float64)
    arrays = []
    for i, nbytes in enumerate(rng.integers(100, 50_001, 300)):
        dtype = np.dtype(dtypes[i % 4])
        columns = i % 3 + 1
        shape = (int(nbytes) // dtype.itemsize // columns, columns)
        arrays.append(rng.integers(0, 256, shape).astype(dtype))
    return case("300 of 4 dtypes, 0.1 to 50 KB", 300, one_by_one(arrays, device))


def few(n: int, size: int, device: torch.device) -> harness.Case:
    arrays = [rng.random(size, np.float32) for _ in range(n)]
    return case(f"{n} x float32({size})", n, one_by_one(arrays, device), at_least=(1, 1))


# -- batches


def stacks(arrays: list[np.ndarray], device: torch.device) -> dict[str, Way]:
    return {
        "tensorlift.stack": lambda: [tensorlift.stack(arrays, device=device)],
        "torch.stack().to(device)": lambda: [torch.stack(shared(arrays)).to(device)],
        "torch.stack().pin_memory().to()": lambda: [
            torch.stack(shared(arrays)).pin_memory().to(device, non_blocking=True)
        ],
        "from_numpy(np.stack).to(device)": lambda: [torch.from_numpy(np.stack(arrays)).to(device)],
    }


def few_stacked(device: torch.device) -> harness.Case:
    arrays = [rng.random(64, np.float32) for _ in range(64)]
    return case("stack 64 x float32(64)", 64, stacks(arrays, device), at_least=(1, 1, 1))


def few_padded(device: torch.device) -> harness.Case:
    arrays = [rng.integers(0, 50_000, int(n)) for n in rng.integers(10, 513, 32)]

    def joined() -> torch.Tensor:
        return pad_sequence(shared(arrays), batch_first=True)

    ways: dict[str, Way] = {
        "tensorlift.pad": lambda: [tensorlift.pad(arrays, device=device).batch],
        "pad_sequence().to(device)": lambda: [joined().to(device)],
        "pad_sequence().pin_memory().to()": lambda: [
            joined().pin_memory().to(device, non_blocking=True)
        ],
    }
    return case("pad 32 x int64(10..512)", 32, ways, at_least=(1, 1))


def image_batch(device: torch.device) -> harness.Case:
    arrays, float32 = images(), torch.float32
    ways: dict[str, Way] = {
        "stack(dtype=)": lambda: [tensorlift.stack(arrays, device=device, dtype=float32)],
        "torch.stack().pin_memory().to().float()": lambda: [
            torch.stack(shared(arrays)).pin_memory().to(device, non_blocking=True).float()
        ],
        "from_numpy(np.stack).to().float()": lambda: [
            torch.from_numpy(np.stack(arrays)).to(device).float()
        ],
    }
    return case("64 x uint8(224,224,3) to float32", 64, ways, at_least=(3,))


def image_batch_chw(device: torch.device) -> harness.Case:
    arrays, float32 = images(), torch.float32

    def by_torch() -> list[torch.Tensor]:
        batch = torch.stack(shared(arrays)).pin_memory().to(device, non_blocking=True)
        return [batch.permute(0, 3, 1, 2).to(float32, memory_format=torch.contiguous_format)]

    ways: dict[str, Way] = {
        "stack(dtype=, channel_dim=-1)": lambda: [
            tensorlift.stack(arrays, device=device, dtype=float32, channel_dim=-1)
        ],
        "the same, .permute().to(float32)": by_torch,
    }
    return case("the same to CHW", 64, ways)


# -- beside the table


def host_times(device: torch.device, count: int, rounds: int) -> dict[str, Any]:
    """When the call returns, which is when the host can go on, and when the device has it all."""
    inputs = {"1000 x float32(1024)": small(), f"{count} x float32 of 16 MiB": large(count)}
    rows, results = [], []
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
    print("\n" + format_table(header, rows, right=header[2:]))
    seconds = results[0]["complete_s"]
    verdict = "under" if seconds < 0.6e-3 else "NOT UNDER"
    print(f"\nOurs for {results[0]['input']}: {format_time(seconds)} a call, {verdict} 0.6 ms.")
    return {"case": "when the call returns", "results": results}


def overlap(device: torch.device, count: int, rounds: int) -> dict[str, Any]:
    """Do copies run beside what the consumer's stream computes, or behind it? By its own events."""
    arrays = large(count)[:16]
    tensors = [t.pin_memory() for t in shared(arrays)]
    ways: dict[str, Way] = {
        "tensorlift.from_numpy": lambda: tensorlift.from_numpy(arrays, device=device),
        "[pinned.to(non_blocking)]": lambda: [t.to(device, non_blocking=True) for t in tensors],
    }
    size = 64 if device.type == FAKE else 4096
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

    for call in (partial(compute, 1 if device.type == FAKE else 100), *ways.values()):
        span(call)  # an idle device is slow at first
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
    rows, results = [], []
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
    print(f"\n{format_bytes(nbytes)} while the current stream is busy with matrix products:\n")
    print(format_table(header, rows, right=header[1:]))
    return {
        "case": "overlap with a busy stream",
        "bytes": nbytes,
        "compute_ms": compute_ms,
        "results": results,
    }


def sweep(device: torch.device, count: int, rounds: int, quick: bool) -> dict[str, Any]:
    """GB/s for every setting of `tensorlift.staging`, turn by turn."""
    inputs = {
        f"{count} x float32 of 16 MiB": (large(count), 1),
        "1000 x float32(1024)": (small(), 20),
    }
    defaults = tensorlift.staging()
    default = (defaults.threads, defaults.chunk_bytes, defaults.buffers)
    threads = sorted({1, CORES, *(n for n in (2, 4, 8, 12, 16) if n <= CORES)})
    chunks = [mib << 20 for mib in ((1, 4) if quick else (1, 2, 4, 8, 16))]
    buffers = (2, 3) if quick else (2, 3, 4)
    settings = [default, *product(threads, chunks, buffers)]

    samples: dict[tuple[str, tuple[int, ...]], list[float]] = {}
    # In another order each time: what was measured before leaves memory in another state.
    order = [settings[i] for _ in range(rounds) for i in rng.permutation(len(settings))]
    for setting, (name, (arrays, calls)) in product(order, inputs.items()):
        tensorlift.staging(threads=setting[0], chunk_bytes=setting[1], buffers=setting[2])
        for call in range(calls + 1):
            torch.accelerator.synchronize()
            begin = time.perf_counter()
            result = tensorlift.from_numpy(arrays, device=device)
            torch.accelerator.synchronize()
            seconds = time.perf_counter() - begin
            del result
            if call > 0:  # the first one pins the buffers
                samples.setdefault((name, setting), []).append(seconds)
    tensorlift.staging(threads=default[0], chunk_bytes=default[1], buffers=default[2])

    results = []
    for name, (arrays, _) in inputs.items():
        nbytes = sum(a.nbytes for a in arrays)
        speed = {s: nbytes / statistics.median(samples[name, s]) / 1e9 for s in settings}
        header = ("threads", "chunk", *(f"{n} buffers" for n in buffers))
        rows = [
            (str(n), format_bytes(chunk), *(f"{speed[n, chunk, b]:.3g}" for b in buffers))
            for n, chunk in product(threads, chunks)
        ]
        print(f"\n{name}, GB/s by settings of tensorlift.staging:\n")
        print(format_table(header, rows, right=header))
        best = max(settings, key=speed.__getitem__)
        print(
            f"\nBest: {speed[best]:.3g} GB/s with threads={best[0]}, chunk_bytes={best[1]}, "
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
    return {"case": "sweep of tensorlift.staging", "cores": CORES, "results": results}


def parse_arguments() -> argparse.Namespace:
    parser = harness.common_options(__doc__.splitlines()[0])
    parser.add_argument("--device", metavar="NAME", help="a type; default: torch's accelerator")
    parser.add_argument("--sweep", action="store_true", help="at the end, settings of staging()")
    options = parser.parse_args()
    if options.device == FAKE and options.json:
        parser.error(f"--json: figures of {FAKE} mean nothing and are not kept")
    return options


def main() -> None:
    options = parse_arguments()
    device = find_device(options.device)
    if device.type == FAKE:
        print(f"{FAKE} is no accelerator: it shows that this runs. ITS FIGURES MEAN NOTHING.\n")
    count = 4 if options.quick else 64
    cases = [
        partial(small_list, device),
        partial(small_batch, device),
        partial(large_list, count, device),
        partial(pinned_list, count, device),
        partial(image_batch, device),
        partial(image_batch_chw, device),
        partial(mixed_list, device),
        partial(few, 1, 64, device),
        partial(few, 8, 256, device),
        partial(few_stacked, device),
        partial(few_padded, device),
    ]

    def after(quick: bool) -> list[dict[str, Any]]:
        results = [
            host_times(device, count, 5 if quick else 20),
            overlap(device, count, 3 if quick else 10),
        ]
        if options.sweep:
            results.append(sweep(device, count, 1 if quick else 5, quick))
        return results

    harness.run(__doc__.splitlines()[0], cases, options, after=after)


if __name__ == "__main__":
    main()
