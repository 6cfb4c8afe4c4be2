"""Results in pictures; needs matplotlib.

Every function draws on axes that it is given and takes what it needs from the results, so that the
same plots stand alone in the README and together in one file of the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle
from math import log2
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from .._text import format_bytes, format_time
from .harness import Result
from .report import comparisons, grids, is_dtype_pair, is_lost, is_ours_too, verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito: told apart also by those who see few colours, and in grey by their markers.
_BLUE, _VERMILLION, _GREY = "#0072B2", "#D55E00", "#555555"
_PEER_STYLES = (
    (_VERMILLION, "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "X"),
)
_TITLES = {"convert": "A list of tensors", "batch": "One batch"}
_WIDTH = 9.0  # inches; 150 dots each


def _points(results: Sequence[Result], plot: str, x: str) -> list[Result]:
    points = [result for result in comparisons(results) if result.get("plot") == plot]
    return sorted(points, key=lambda result: int(result[x]))


def _draw_line(
    axes: Axes,
    points: Sequence[tuple[float, float, float, float]],
    label: str,
    style: tuple[str, str],
    *,
    bold: bool,
) -> None:
    """A line through medians, in a band from quartile to quartile."""
    x, low, middle, high = zip(*points, strict=True)
    colour, marker = style
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    width = 2.4 if bold else 1.4
    axes.plot(x, middle, color=colour, marker=marker, markersize=5, linewidth=width, label=label)


def _draw_lines(
    axes: Axes,
    points: Sequence[Result],
    x: str,
    quartiles: Callable[[Result, Mapping[str, float]], tuple[float, float, float]],
) -> None:
    """One line for ours, and one for each peer."""
    ours: dict[int, list[tuple[float, float, float]]] = {}
    peers: dict[str, list[tuple[float, float, float, float]]] = {}
    for point in points:
        ours.setdefault(point[x], []).append(quartiles(point, point["ours_s"]))
        peers.setdefault(point["peer"], []).append((point[x], *quartiles(point, point["peer_s"])))
    lines = {name: line for name, line in peers.items() if len(line) > 1}
    for (name, line), style in zip(lines.items(), cycle(_PEER_STYLES), strict=False):
        _draw_line(axes, line, name, style, bold=False)
    middle = [(at, *map(median, zip(*many, strict=True))) for at, many in ours.items()]
    _draw_line(axes, middle, points[0]["ours"], (_BLUE, "o"), bold=True)  # last: on top
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], fontsize=8, frameon=False)
    axes.grid(True, which="major", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_cost(axes: Axes, results: Sequence[Result]) -> None:
    """What an array costs, against how many there are; of one suite."""
    from matplotlib.ticker import LogLocator

    def nanoseconds(point: Result, seconds: Mapping[str, float]) -> tuple[float, float, float]:
        low, middle, high = (
            seconds[name] / point["arrays"] * 1e9 for name in ("low", "median", "high")
        )
        return low, middle, high

    points = _points(results, "arrays", "arrays")
    axes.set_xscale("log")
    axes.set_yscale("log")
    _draw_lines(axes, points, "arrays", nanoseconds)
    axes.xaxis.set_major_locator(LogLocator(10))
    axes.xaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda ns, _: format_time(ns * 1e-9).replace("us", "µs"))
    axes.minorticks_off()
    axes.set_xlabel(f"arrays in the list, {format_bytes(points[0]['array_bytes'])} each")
    axes.set_ylabel("time per array")
    axes.set_title(_TITLES.get(points[0].get("suite", ""), ""), fontsize=10, loc="left")


def draw_throughput(axes: Axes, results: Sequence[Result]) -> None:
    """How many bytes a second, against the size of an array."""

    def gigabytes(point: Result, seconds: Mapping[str, float]) -> tuple[float, float, float]:
        low, middle, high = (
            point["arrays"] * point["array_bytes"] / seconds[name] / 1e9
            for name in ("high", "median", "low")
        )
        return low, middle, high

    points = _points(results, "bytes", "array_bytes")
    copies = [result for result in results if result["case"] == "copy bandwidth"]
    if copies:
        axes.axhline(
            copies[0]["bytes_per_s"] / 1e9,
            color=_GREY,
            linestyle="--",
            linewidth=1.2,
            label="memory bandwidth: one copy in one piece",
        )
    axes.set_xscale("log", base=2)
    _draw_lines(axes, points, "array_bytes", gigabytes)
    axes.set_ylim(bottom=0)
    sizes = sorted({int(point["array_bytes"]) for point in points})
    axes.set_xticks(sizes, [format_bytes(size) for size in sizes], fontsize=8)
    axes.minorticks_off()
    total = points[0]["arrays"] * points[0]["array_bytes"]
    axes.set_xlabel(f"size of an array, {format_bytes(total)} in all")
    axes.set_ylabel("stacked [GB/s]")
    axes.set_title("Throughput of a batch", fontsize=10, loc="left")


def bars(results: Sequence[Result]) -> list[Result]:
    """Of each case the peer that comes nearest, or is faster.

    Of pairs of dtypes, and of what the plot of throughput shows, the losses alone.
    """
    nearest: dict[str, Result] = {}
    for result in comparisons(results):
        if is_ours_too(result) or "kind" in result:
            continue
        one_of_many = is_dtype_pair(result) or result.get("plot") == "bytes"
        if one_of_many and result["ratio"] >= 1:
            continue
        best = nearest.setdefault(result["case"], result)
        if result["ratio"] < best["ratio"]:
            nearest[result["case"]] = result
    return list(nearest.values())


def draw_speedups(axes: Axes, results: Sequence[Result]) -> None:
    """How many times faster ours is than the fastest peer of each case."""
    shown = bars(results)[::-1]
    ratios = [float(result["ratio"]) for result in shown]
    colour_of = {"WE LOSE": _VERMILLION, "even": _GREY}
    colours = [colour_of.get(verdict(result), _BLUE) for result in shown]
    widths = [ratio - 1 for ratio in ratios]
    axes.set_xscale("log", base=2)
    rows = range(len(shown))
    axes.barh(rows, widths, left=1, color=colours, height=0.7)
    axes.set_yticks(rows, [result["case"] for result in shown], fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    for row, ratio in zip(rows, ratios, strict=True):
        text = f"{ratio:.2g}" if ratio < 9.95 else f"{ratio:.0f}"
        axes.annotate(
            f"{text}×  vs {shown[row]['peer']}",
            (max(ratio, 1), row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=_VERMILLION if colours[row] == _VERMILLION else _GREY,
        )
    low, high = min([0.9, *ratios]), max([2.0, *ratios])
    axes.set_xlim(low * 0.95, high * (high / low) ** 0.45)  # room for the text
    ticks = [t for t in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128) if low * 0.95 <= t <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("time of the fastest other way / ours (right of 1: ours is faster)")
    axes.set_title("Speed-up by workload", fontsize=10, loc="left")


def draw_grid(axes: Axes, results: Sequence[Result], operation: str) -> None:
    """Ratios of an operation as colours, kinds of samples × batch size; losses are framed."""
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.patches import Rectangle

    _, kinds, sizes, here = next(grid for grid in grids(results) if grid[0] == operation)
    ratios = [[float("nan")] * len(sizes) for _ in kinds]
    for cell in here:
        ratios[kinds.index(cell["kind"])][sizes.index(cell["size"])] = log2(cell["ratio"])
    norm = TwoSlopeNorm(0, vmin=-2, vmax=6)  # a quarter to 64 times as fast
    axes.imshow(ratios, cmap="PuOr", norm=norm, aspect="auto")
    for cell in here:
        x, y = sizes.index(cell["size"]), kinds.index(cell["kind"])
        text = f"{cell['ratio']:.1f}" if cell["ratio"] < 9.95 else f"{cell['ratio']:.0f}"
        is_dark = log2(cell["ratio"]) > 4 or log2(cell["ratio"]) < -1.4
        axes.text(
            *(x, y, text),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if is_dark else "black",
        )
        if is_lost(cell):
            frame = Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=_VERMILLION, lw=2)
            axes.add_patch(frame)
    axes.set_xticks(range(len(sizes)), list(map(str, sizes)), fontsize=8)
    axes.set_yticks(range(len(kinds)), kinds, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("batch size")
    lost = sum(map(is_lost, here))
    axes.set_title(
        f"{operation}: torch's time / ours; framed: torch is faster ({lost} of {len(here)})",
        fontsize=10,
        loc="left",
    )


def caption(machine: Mapping[str, str]) -> str:
    """Where the results are from, in one line."""
    facts = [machine["processor"]]
    if machine.get("accelerator", "none") != "none":
        facts.append(machine["accelerator"])
    torch_version = machine["torch"].partition(",")[0]
    facts += [machine["python"], f"torch {torch_version}", f"NumPy {machine['numpy']}"]
    return "Medians, bands are quartiles. " + ", ".join(facts)


def _suites_with(results: Sequence[Result], plot: str) -> list[list[Result]]:
    """The results of each suite that has at least two points of such a plot."""
    by_suite: dict[str, list[Result]] = {}
    for result in results:
        by_suite.setdefault(result.get("suite", ""), []).append(result)
    return [
        of_one
        for of_one in by_suite.values()
        if len({p["arrays"] for p in _points(of_one, plot, "arrays")}) > 1
    ]


def _panels(results: Sequence[Result]) -> list[tuple[str, Callable[[Axes], None], float]]:
    """What can be drawn: the kind, the function, and the height in inches."""
    panels: list[tuple[str, Callable[[Axes], None], float]] = []
    for of_one in _suites_with(results, "arrays"):
        panels.append(("cost", partial(draw_cost, results=of_one), 3.4))
    for of_one in _suites_with(results, "bytes"):
        panels.append(("throughput", partial(draw_throughput, results=of_one), 3.4))
    for operation, kinds, _, _ in grids(results):
        draw = partial(draw_grid, results=results, operation=operation)
        panels.append(("grid", draw, 0.9 + 0.24 * len(kinds)))
    if shown := bars(results):
        height = 0.9 + 0.21 * len(shown)
        panels.append(("speedups", partial(draw_speedups, results=results), height))
    return panels


def figure(
    results: Sequence[Result], machine: Mapping[str, str], kinds: Sequence[str] = ()
) -> Figure | None:
    """Draws all that the results have the points for, one below the other.

    Args:
        results: as in the JSON document.
        machine: as there.
        kinds: which of "cost", "throughput", "grid" and "speedups"; empty for all.

    Returns:
        The figure, or None where there is nothing to be drawn.
    """
    from matplotlib.figure import Figure

    panels = [panel for panel in _panels(results) if not kinds or panel[0] in kinds]
    if not panels:
        return None
    heights = [height for _, _, height in panels]
    drawn = Figure(figsize=(_WIDTH, sum(heights) + 0.3), dpi=150, layout="constrained")
    parts = drawn.subfigures(len(panels), squeeze=False, height_ratios=heights)
    for (_, draw, _), part in zip(panels, parts[:, 0], strict=True):
        draw(part.subplots())
    drawn.supxlabel(caption(machine), fontsize=7, color=_GREY)
    return drawn


def save(drawn: Figure, path: Path) -> None:
    """Writes a figure; the format is told by the name."""
    drawn.savefig(path, facecolor="white")
