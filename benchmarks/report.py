"""Writes the benchmark tables of three pages, and draws the plots, from the recorded results.

    python benchmarks/report.py            # the pages between their marks, benchmarks/plots/*.png
    python benchmarks/report.py --check    # only says whether the pages are up to date

benchmarks/README.md has of each case the first peer, those of which a ratio is promised, and every
loss; README.md has the rows of IN_README; python/docs/is-it-for-me.md has whatever is not won on
one of the machines. Results are recorded on a machine that does nothing else, with

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
TABLES = ("<!-- tables of benchmarks/report.py -->", "<!-- end of the tables -->")
NOT_WON = ("<!-- what benchmarks/report.py finds -->", "<!-- end of what it finds -->")
FIGURES = ("<!-- figures of benchmarks/report.py -->", "<!-- end of the figures -->")
IN_README = [  # case, peer; in the order of the page
    ("1000 x float32(64)", "[torch.from_numpy]"),
    ("1 x float32(64)", "[torch.from_numpy]"),
    ("256 mirrored (64, 64) float64", "[from_numpy(a.copy())]"),
    ("stack 1000 x float32(64)", "torch.stack([from_numpy])"),
    ("stack 64 x uint8(224,224,3)", "torch.stack([from_numpy])"),
    ("the same to float32", "torch.stack().to(float32)"),
    ("stack 1 x float32(64)", "from_numpy(np.array(list))"),
    ("pad 256 x int64(10..512)", "pad_sequence([from_numpy])"),
    ("100 MiB float64 to float32, 2 thread(s), warm", "Tensor.copy_"),
    ("collate 256 x dict of image, label, boxes, int, str", "default_collate"),
    ("DataLoader, 2 workers, image, label, boxes, int, str", "default_collate"),
    ("DataLoader, 2 workers, 25 us of work a sample", "default_collate"),
    ("collate 32 x (tensor, int)", "default_collate"),
    ("collate 32 x dict of tensor, int, str", "default_collate"),
    ("DataLoader, 2 workers, batches of 64 (tensor, int)", "default_collate"),
]
TITLES = {
    "convert": "A list of tensors:",
    "batch": "One tensor:",
    "ragged": "Sequences and images of different sizes:",
    "cast": "Casts (of pairs of dtypes, times per number):",
    "samples": "Samples of any kind in batches of any size; of `collate` torch's time / ours:",
    "loader": "A batch of samples (times per sample; of the tree, per array):",
    "transfer": "To an accelerator:",
}
PLOTS = ("cost", "throughput", "grid", "speedups")


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
        shown_ratio(ratio),
        f"{promise:g}" if promise else "",
    )


def table(recording: Recording) -> str:
    header = ("case", "peer", "ours", "peer", "ratio", "at least")
    rows = [header, ("---",) * len(header), *map(cells, selected(recording.results))]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def grid(recording: Recording) -> str:
    """What is lost of each operation, and the ratios of the first one."""
    found = list(report.grids(recording.results))
    summaries = (report.grid_summary(name, here) for name, *_, here in found)
    lines = ["- " + summary.replace("\n  ", "; ") for summary in summaries]
    _, kinds, sizes, here = found[0]
    at = {(cell["kind"], cell["size"]): cell["ratio"] for cell in here}
    rows = [("samples", *map(str, sizes)), ("---",) * (1 + len(sizes))]
    for kind in kinds:
        ratios = [at.get((kind, size)) for size in sizes]
        rows.append((kind, *("" if ratio is None else f"{ratio:.1f}" for ratio in ratios)))
    return "\n".join([*lines, "", *("| " + " | ".join(row) + " |" for row in rows)])


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
        has_cells = any("kind" in result for result in recording.results)
        parts += [TITLES[recording.suite], (grid if has_cells else table)(recording)]
    return "\n\n".join(parts)


def figures(of: Sequence[Recording]) -> str:
    """The rows of IN_README, all of one machine."""
    machine = of[0].machine
    by_name = {
        (result["case"], result["peer"]): result
        for recording in of
        if recording.machine == machine
        for result in report.comparisons(recording.results)
    }
    header = ("case", "peer", "tensorlift", "peer", "ratio")
    rows = [header, ("---",) * 5, *(cells(by_name[name])[:5] for name in IN_README)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"Medians per array or sample, creation and release, on {origin(machine)}:\n\n{table}"


def not_won(found: Sequence[Recording]) -> str:
    """All cases that are lost or even on one of the machines; of the cells of a grid each kind."""
    ratios: dict[tuple[str, str], dict[str, list[float]]] = {}
    for recording in found:
        for result in report.comparisons(recording.results):
            case = result["case"]
            if "kind" in result:
                case = f"{result['operation']}: {result['kind']}, any number"
            if not report.is_ours_too(result):
                at = ratios.setdefault((case, result["peer"]), {})
                at.setdefault(recording.where, []).append(result["ratio"])
    machines = sorted({recording.where for recording in found})
    header = ("case", "peer", *machines)
    rows = [header, ("---",) * len(header)]
    for (case, peer), at in ratios.items():
        worst = {machine: min(here) for machine, here in at.items()}
        if min(worst.values()) > report.EVEN:
            continue
        shown = (worst.get(machine) for machine in machines)
        rows.append((case, f"`{peer}`", *("" if r is None else shown_ratio(r) for r in shown)))
    count = sum(len(here) for at in ratios.values() for here in at.values())
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"Of {count} comparisons on {len(machines)} machines:\n\n{table}"


def shown_ratio(ratio: float) -> str:
    return f"**{ratio:.2f}**" if ratio < 1 else f"{ratio:.2f}"


def with_text(page: str, marks: tuple[str, str], text: str) -> str:
    """The page with `text` between the marks."""
    before, begin, rest = page.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise SystemExit(f"expected the lines {marks[0]} and {marks[1]}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


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
    parser.add_argument("--root", type=Path, default=ROOT, help="where the pages and plots are")
    options = parser.parse_args()
    found = list(recordings(options.results))
    of = chosen(found)
    written = {
        "README.md": (FIGURES, figures(of)),
        "benchmarks/README.md": (TABLES, tables(of)),
        "python/docs/is-it-for-me.md": (NOT_WON, not_won(found)),
    }
    for name, (marks, text) in written.items():
        page = options.root / name
        old = page.read_text()
        new = with_text(old, marks, text)
        if options.check and new != old:
            sys.exit(f"{name}: its tables are not those of the results: benchmarks/report.py")
        if not options.check:
            page.write_text(new)
            print(page)
    if not options.check:
        draw(of, options.root / "benchmarks" / "plots")


if __name__ == "__main__":
    main()
