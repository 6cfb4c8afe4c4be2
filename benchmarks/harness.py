"""What the benchmarks share: check, time turn by turn, print, write JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import tensorlift
from tensorlift._machine import describe
from tensorlift._text import format_table, format_time
from tensorlift._timing import compare

Ways = dict[str, Callable[[], Sequence[torch.Tensor]]]


@dataclass(frozen=True)
class Case:
    """One question: ours against its peers on the same input.

    `ways` maps names to callables without arguments, ours first; all must give the same tensors.
    `arrays` is how many arrays one call converts; times are printed per array.
    `at_least` has, for each peer, the ratio that the project promises, None where it promises none.
    """

    name: str
    arrays: int
    ways: Ways
    with_release: bool = True
    at_least: Sequence[float | None] = ()


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


def common_options(description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=2.0, help="per case (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    parser.add_argument("--quick", action="store_true", help="small inputs, to see that it runs")
    parser.add_argument("--only", metavar="TEXT", default="", help="cases whose name contains it")
    return parser


def arguments(description: str) -> argparse.Namespace:
    return common_options(description).parse_args()


def measure(case: Case, seconds: float) -> Iterator[dict[str, Any]]:
    """Ours and one peer at a time, turn by turn, so that no third one disturbs heap and caches."""
    (ours_name, ours), *peers = case.ways.items()
    for number, (name, peer) in enumerate(peers):
        timings = compare(
            {ours_name: ours, name: peer},
            seconds=seconds / len(peers),
            with_release=case.with_release,
        )
        ratio = timings[name].median / timings[ours_name].median
        yield {
            "case": case.name,
            "peer": name,
            "arrays": case.arrays,
            "ours_s": dataclasses.asdict(timings[ours_name]),
            "peer_s": dataclasses.asdict(timings[name]),
            "ratio": ratio,
            "at_least": case.at_least[number] if number < len(case.at_least) else None,
        }


def row(result: dict[str, Any]) -> tuple[str, ...]:
    arrays, promise, ratio = result["arrays"], result["at_least"], result["ratio"]
    verdict = "we win" if ratio > 1 else "WE LOSE"
    if promise and ratio < promise:
        verdict = "below promise"
    spread = max((t["high"] - t["low"]) / t["median"] for t in (result["ours_s"], result["peer_s"]))
    return (
        result["case"],
        result["peer"],
        format_time(result["ours_s"]["median"] / arrays),
        format_time(result["peer_s"]["median"] / arrays),
        f"{ratio:.2f}",
        f">= {promise:g}" if promise else "",
        f"{spread:.0%}",
        verdict,
    )


def run(
    question: str,
    cases: Sequence[Callable[[], Case]],
    options: argparse.Namespace,
    *,
    after: Callable[[bool], dict[str, Any] | list[dict[str, Any]]] | None = None,
) -> None:
    """Checks and times every case and prints a table, losses included.

    `after` is called at the end, with whether this is a quick run; what it returns is a result too,
    or a list of them.
    """
    machine = describe(tensorlift.__version__)
    print(question + "\n")
    print(format_table(("machine", ""), list(machine.items())) + "\n")
    results = []
    for make in cases:
        case = make()
        if options.only in case.name:
            check(case)
            results += measure(case, 0.05 if options.quick else options.seconds)
    header = ("case", "peer", "ours", "peer's", "ratio", "promised", "spread", "")
    table = format_table(
        header, [row(r) for r in results], right=("ours", "peer's", "ratio", "spread")
    )
    print(table)
    print("\nTimes are medians per array; ratio = peer's / ours; spread = quartiles / median.")
    if after is not None and not options.only:
        more = after(options.quick)
        results += more if isinstance(more, list) else [more]
    if options.json:
        document = {"question": question, "machine": machine, "results": results}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
