"""Results in words: the table, who wins, and the document that is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean

from .._cli.terminal import print_table
from .._text import format_time
from .harness import Result

HEADER = ("case", "peer", "ours", "peer's", "ratio", "promised", "spread", "")
FOOTER = (
    "Times are medians per array; ratio = peer's / ours; spread = quartiles / median; even: within "
    "5 %."
)
EVEN = 1.05  # a ratio that differs from 1 by chance
_RIGHT = ("ours", "peer's", "ratio", "spread")
_STYLES = {"we win": "", "even": "", "WE LOSE": "bold red", "below promise": "yellow"}


def comparisons(results: Iterable[Result]) -> list[Result]:
    """Those results that compare ours with a peer."""
    return [result for result in results if "ours_s" in result]


def verdict(result: Result) -> str:
    """Who wins."""
    ratio, promise = result["ratio"], result["at_least"]
    if ratio < 0.95:
        return "WE LOSE"
    if promise and ratio < promise:
        return "below promise"
    return "even" if ratio <= EVEN else "we win"


def spread(result: Result) -> float:
    """How far the quartiles are apart, as a part of the median; the larger of both sides'."""
    sides = (result["ours_s"], result["peer_s"])
    return max(float((side["high"] - side["low"]) / side["median"]) for side in sides)


def row(result: Result) -> tuple[str, ...]:
    """The cells of a comparison, as in HEADER."""
    arrays, promise = result["arrays"], result["at_least"]
    return (
        result["case"],
        result["peer"],
        format_time(result["ours_s"]["median"] / arrays),
        format_time(result["peer_s"]["median"] / arrays),
        f"{result['ratio']:.2f}",
        f">= {promise:g}" if promise else "",
        f"{spread(result):.0%}",
        verdict(result),
    )


def summary(results: Sequence[Result]) -> str:
    """How often we win, and every loss once more by name."""
    lost = [result for result in results if verdict(result) == "WE LOSE"]
    won = sum(result["ratio"] > EVEN for result in results)
    below = sum(result["ratio"] < (result["at_least"] or 0) for result in results)
    lines = [
        f"{len(results)} comparisons: {won} won, {len(results) - won - len(lost)} even, "
        f"{len(lost)} lost; {below} below what is promised."
    ]
    lines += [f"  lost: {r['case']} against {r['peer']} ({r['ratio']:.2f})" for r in lost]
    return "\n".join(lines)


def show(results: Sequence[Result]) -> None:
    """Prints the table and the summary, losses in both.

    Args:
        results: comparisons.
    """
    styles = [_STYLES[verdict(result)] for result in results]
    print_table(HEADER, [row(result) for result in results], _RIGHT, styles)
    print(f"\n{FOOTER}\n{summary(results)}")


def cells(results: Iterable[Result]) -> list[Result]:
    """Those results that stand in a grid of kinds of samples × batch size."""
    return [result for result in comparisons(results) if "kind" in result]


def is_lost(cell: Result) -> bool:
    """Whether the peer is faster, by more than the two differ by chance."""
    return verdict(cell) == "WE LOSE"


def grids(results: Sequence[Result]) -> Iterator[tuple[str, list[str], list[int], list[Result]]]:
    """For each operation its name, the kinds of samples, the batch sizes and the cells."""
    for operation in dict.fromkeys(cell["operation"] for cell in cells(results)):
        here = [cell for cell in cells(results) if cell["operation"] == operation]
        kinds = list(dict.fromkeys(str(cell["kind"]) for cell in here))
        yield operation, kinds, sorted({int(cell["size"]) for cell in here}), here


def grid_summary(operation: str, here: Sequence[Result]) -> str:
    """How many cells are lost, which, and the mean."""
    lost = [cell for cell in here if is_lost(cell)]
    mean = geometric_mean(cell["ratio"] for cell in here)
    lines = [f"{operation}: {len(lost)} of {len(here)} cells lost, geometric mean {mean:.2f}"]
    lines += [f"  lost: {cell['case']} ({cell['ratio']:.2f})" for cell in lost]
    return "\n".join(lines)


def show_grid(results: Sequence[Result]) -> None:
    """Prints what is lost, the grids of ratios, and the other comparisons.

    Args:
        results: comparisons, some of them cells.
    """
    found = list(grids(results))
    for operation, _, _, here in found:
        print(grid_summary(operation, here))
    for operation, kinds, sizes, here in found:
        at = {(cell["kind"], cell["size"]): cell for cell in here}
        rows = []
        for kind in kinds:
            row_cells = [at.get((kind, size)) for size in sizes]
            ratios = (f"{c['ratio']:.2f}" + "*" * is_lost(c) if c else "" for c in row_cells)
            rows.append((kind, *ratios))
        print(f"\n{operation}: peer's time / ours, by batch size; * = the peer is faster")
        print_table(("samples", *map(str, sizes)), rows, tuple(map(str, sizes)))
    others = [result for result in comparisons(results) if "kind" not in result]
    if others:
        print()
        show(others)


def document(
    questions: Sequence[str], machine: Mapping[str, str], results: Sequence[Result]
) -> dict[str, object]:
    """What is written as JSON.

    Args:
        questions: of the suites that ran.
        machine: where, as of `_machine.describe`.
        results: in the order of the table.

    Returns:
        `question`, `machine` and `results`. A comparison has `suite`, `case`, `peer`, `ours` (the
        name of our way), `arrays` (of one call), `ours_s` and `peer_s` (`median`, `low`, `high`:
        seconds a call, quartiles), `ratio`, `at_least` (promised; or null), and where it is a
        point of a plot, `plot` ("arrays" or "bytes") and `array_bytes`. Other results have
        `suite`, `case` and members of their own. Cells of a grid have `operation`, `kind` and
        `size` (the batch size).
    """
    return {"question": " ".join(questions), "machine": dict(machine), "results": list(results)}


def write_json(path: Path, content: dict[str, object]) -> None:
    """Writes a document; one value a line, so that two of them can be compared."""
    path.write_text(json.dumps(content, indent=1) + "\n")


def is_ours_too(result: Result) -> bool:
    """Whether the peer is torch's own function into which ours is installed."""
    return str(result["peer"]).endswith(", installed")


def is_dtype_pair(result: Result) -> bool:
    """Whether it is one of the many casts from each dtype to each other."""
    return re.fullmatch(r"\w+ to \w+", result["case"]) is not None
