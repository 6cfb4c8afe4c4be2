"""Writes the README's benchmark tables, and draws the plots, from the recorded results.

    python benchmarks/report.py            # README.md between its two marks, benchmarks/plots/*.png
    python benchmarks/report.py --check    # only says whether README.md is up to date

A table has of each case the first peer, those of which a ratio is promised, and every loss. Results
are recorded on a machine that does nothing else, with

    python -m tensorlift bench --suite NAME --json benchmarks/results/NAME-WHERE.json

Where a suite is recorded on several machines, the one with the most suites is taken.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tensorlift._bench import plots, report
from tensorlift._bench.command import SUITES
from tensorlift._bench.harness import Result
from tensorlift._text import format_time

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- tables of benchmarks/report.py -->", "<!-- end of the tables -->"
TITLES = {
    "convert": "A list of tensors:",
    "batch": "One tensor:",
    "cast": "Casts (of pairs of dtypes, times per number):",
    "loader": "A batch of samples (times per sample; of the tree, per array):",
    "transfer": "To an accelerator:",
}
PLOTS = ("cost", "throughput", "speedups")


@dataclass(frozen=True)
class Recording:
    """One suite on one machine."""

    suite: str
    machine: dict[str, str]
    results: list[Result]

    @property
    def where(self) -> str:
        accelerator = self.machine["accelerator"]
        return self.machine["processor"] + ("" if accelerator == "none" else f", {accelerator}")


def recordings(folder: Path) -> Iterator[Recording]:
    """All that are there; results without a suite are told by their document's question."""
    by_question = {suite.question: name for name, suite in SUITES.items()}
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text())
        by_suite: dict[str, list[Result]] = {}
        for result in document["results"]:
            suite = result.get("suite") or by_question[document["question"]]
            by_suite.setdefault(suite, []).append({"suite": suite, **result})
        for suite, results in by_suite.items():
            yield Recording(suite, document["machine"], results)


def chosen(found: Sequence[Recording]) -> list[Recording]:
    """One for each suite, in their usual order."""
    suites_at = Counter(recording.where for recording in found)
    best: dict[str, Recording] = {}
    for recording in sorted(found, key=lambda r: (-suites_at[r.where], r.where)):
        best.setdefault(recording.suite, recording)
    return [best[name] for name in TITLES if name in best]


def selected(results: Sequence[Result]) -> list[Result]:
    """What a table shows."""
    rows, seen = [], set()
    for result in report.comparisons(results):
        first = result["case"] not in seen
        seen.add(result["case"])
        if result.get("plot") == "bytes":
            first = False  # the plot has them
        if report.is_dtype_pair(result) and not result["case"].endswith(" to float32"):
            first = False  # too many
        lost = result["ratio"] < 1 and not report.is_ours_too(result)
        if first or result["at_least"] or lost:
            rows.append(result)
    return rows


def cells(result: Result) -> tuple[str, ...]:
    times = (result[side]["median"] / result["arrays"] for side in ("ours_s", "peer_s"))
    ours, peer = (format_time(seconds).replace("us", "µs") for seconds in times)
    ratio, promise = result["ratio"], result["at_least"]
    return (
        *(result["case"], f"`{result['peer']}`", ours, peer),
        f"**{ratio:.2f}**" if ratio < 1 else f"{ratio:.2f}",
        f"{promise:g}" if promise else "",
    )


def table(recording: Recording) -> str:
    header = ("case", "peer", "ours", "peer", "ratio", "at least")
    rows = [header, ("---",) * len(header), *map(cells, selected(recording.results))]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def origin(machine: dict[str, str]) -> str:
    """Where, in one line."""
    facts = [machine["processor"]]
    if machine["accelerator"] != "none":
        facts.append(machine["accelerator"])
    torch_version = machine["torch"].partition(",")[0]
    return ", ".join(
        [*facts, machine["python"], f"torch {torch_version}", f"NumPy {machine['numpy']}"]
    )


def tables(of: Sequence[Recording]) -> str:
    parts, machine = [], ""
    for recording in of:
        if origin(recording.machine) != machine:
            machine = origin(recording.machine)
            parts.append(f"On {machine}:")
        parts += [TITLES[recording.suite], table(recording)]
    return "\n\n".join(parts)


def with_tables(readme: str, text: str) -> str:
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"README.md: expected the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def draw(of: Sequence[Recording], folder: Path) -> None:
    """Plots of the first machine; of the speed-ups those that are promised or lost."""
    machine = of[0].machine
    results = [r for recording in of if recording.machine == machine for r in recording.results]
    promised = {r["case"] for r in report.comparisons(results) if r["at_least"]}
    bars = [r for r in results if r["case"] in promised or r.get("ratio", 1) < 0.95]
    folder.mkdir(exist_ok=True)
    for kind in PLOTS:
        drawn = plots.figure(bars if kind == "speedups" else results, machine, [kind])
        path = folder / f"{kind}.png"
        if drawn is None:
            print(f"{path.name}: not drawn: no result has points for it; record the suites again")
            continue
        plots.save(drawn, path)
        print(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--plots", type=Path, default=ROOT / "benchmarks" / "plots")
    options = parser.parse_args()
    of = chosen(list(recordings(options.results)))
    old = options.readme.read_text()
    new = with_tables(old, tables(of))
    if options.check:
        if new != old:
            sys.exit("README.md: its tables are not those of the results: benchmarks/report.py")
        return
    options.readme.write_text(new)
    print(options.readme)
    draw(of, options.plots)


if __name__ == "__main__":
    main()
