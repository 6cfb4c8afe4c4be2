"""What the benchmarks share: check, time turn by turn, print, write JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import tensorlift
from tensorlift._machine import describe
from tensorlift._text import format_table, format_time
from tensorlift._timing import compare


@dataclass(frozen=True)
class Case:
    """One question: ours against its peers on the same input.

    `ways` maps names to callables without arguments, ours first; all must give the same tensors.
    `arrays` is how many arrays one call converts; times are printed per array.
    `at_least` is the ratio to the first peer that the project promises, where it promises one.
    """

    name: str
    arrays: int
    ways: Mapping[str, Callable[[], Sequence[torch.Tensor]]]
    with_release: bool = True
    at_least: float | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)


def check(case: Case) -> None:
    """Every way gives the same tensors, or there is nothing to time."""
    expected: Sequence[torch.Tensor] | None = None
    for name, way in case.ways.items():
        result = way()
        if expected is None:
            expected = result
            continue
        same = len(result) == len(expected) and all(map(torch.equal, result, expected))
        if not same:
            raise SystemExit(f"{case.name}: {name} gives another result; not timed")


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=2.0, help="per case (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    parser.add_argument("--quick", action="store_true", help="small inputs, to see that it runs")
    parser.add_argument("--only", metavar="TEXT", default="", help="cases whose name contains it")
    return parser.parse_args()


def run(question: str, cases: Sequence[Callable[[], Case]], options: argparse.Namespace) -> None:
    """Checks and times every case and prints a table, losses included."""
    machine = describe(tensorlift.__version__)
    print(question + "\n")
    print(format_table(("machine", ""), list(machine.items())) + "\n")
    results = []
    rows = []
    for make in cases:
        case = make()
        if options.only not in case.name:
            continue
        check(case)
        seconds = 0.05 if options.quick else options.seconds
        timings = compare(case.ways, seconds=seconds, with_release=case.with_release)
        (ours_name, ours), *peers = timings.items()
        for name, timing in [(ours_name, ours), *peers]:
            is_ours = name == ours_name
            ratio = timing.median / ours.median
            is_first_peer = name == peers[0][0]
            promised = f">= {case.at_least:g}" if case.at_least and is_first_peer else ""
            verdict = "" if is_ours else ("ours wins" if ratio > 1 else "ours LOSES")
            if promised and ratio < case.at_least:
                verdict = "below promise"
            rows.append(
                (
                    case.name if is_ours else "",
                    name,
                    format_time(timing.median / case.arrays),
                    f"{format_time(timing.low / case.arrays)} .. "
                    f"{format_time(timing.high / case.arrays)}",
                    "" if is_ours else f"{ratio:.2f}",
                    promised,
                    verdict,
                )
            )
            results.append(
                {
                    "case": case.name,
                    "way": name,
                    "arrays": case.arrays,
                    "median_s": timing.median,
                    "low_s": timing.low,
                    "high_s": timing.high,
                    "ratio_to_ours": ratio,
                    **case.tags,
                }
            )
    header = ("case", "way", "an array", "quartiles", "times ours", "promised", "")
    print(format_table(header, rows, right=("an array", "times ours")))
    if options.json:
        document = {"question": question, "machine": machine, "results": results}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
