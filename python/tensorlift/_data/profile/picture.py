"""A report as a picture; needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._text import format_time
from .log import Lane
from .shares import Shares
from .stages import STAGES, WHERE, Stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .report import LoaderReport

# Okabe and Ito, and lighter ones of the same hues for what belongs together.
_COLOURS: dict[Stage, str] = {
    "reading": "#0072B2",
    "collating": "#56B4E9",
    "sending": "#E69F00",
    "receiving": "#F0C66E",
    "indices": "#999999",
    "pinning": "#CC79A7",
    "transfer": "#D55E00",
    "the model": "#009E73",
    "freeing": "#8C6D46",
    "waiting": "#EEEEEE",
}
_DARK = ("reading", "transfer", "the model", "freeing")
_WIDTH = 9.0  # inches
_MAX_WORKERS = 16
_LABELLED = 0.06  # of a bar: what is shorter has no room for its share


def draw(report: LoaderReport) -> Figure:
    """Shares of everybody's time above, and below some steps as they went by."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    bars = _bars(report)
    lanes = [lane for lane, _ in bars]
    height = 1.9 + 0.56 * len(bars)
    figure = Figure(figsize=(_WIDTH, height), dpi=150, layout="constrained")
    above, below = figure.subplots(2, 1)
    _draw_shares(above, bars)
    _draw_timeline(below, report, lanes)
    seen = [stage for stage in STAGES if any(stage in shares for _, shares in bars)]
    figure.legend(
        handles=[Patch(color=_COLOURS[stage], label=stage) for stage in seen],
        loc="outside lower center",
        ncols=len(seen),
        fontsize=8,
        frameon=False,
        handlelength=1.0,
        columnspacing=1.2,
    )
    figure.suptitle(
        f"{report.verdict}: {format_time(report.step_seconds)} a step",
        fontsize=11,
        x=0.01,
        ha="left",
    )
    return figure


def _bars(report: LoaderReport) -> list[tuple[Lane, Shares]]:
    """From above: workers, threads, the consumer."""
    workers = [(Lane("worker", i), shares) for i, shares in enumerate(report.workers)]
    others = [(Lane(where), report.shares[where]) for where in WHERE[1:] if where in report.shares]
    return workers[:_MAX_WORKERS] + others


def _name(lane: Lane) -> str:
    return f"worker {lane.number}" if lane.where == "worker" else lane.where


def _draw_shares(axes: Axes, bars: list[tuple[Lane, Shares]]) -> None:
    for row, (_, shares) in enumerate(bars):
        left = 0.0
        for stage, share in shares.items():
            axes.barh(row, share, left=left, color=_COLOURS[stage], height=0.72)
            if share >= _LABELLED:
                axes.text(
                    *(left + share / 2, row, f"{share:.0%}"),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if stage in _DARK else "black",
                )
            left += share
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"], fontsize=8)
    axes.set_title("Shares of everybody's time", fontsize=10, loc="left")
    _finish(axes, [lane for lane, _ in bars])


def _draw_timeline(axes: Axes, report: LoaderReport, lanes: list[Lane]) -> None:
    rows = {lane: row for row, lane in enumerate(lanes)}
    last = max((interval.end for interval in report._intervals), default=1.0)
    for row in rows.values():
        axes.barh(row, last, color=_COLOURS["waiting"], height=0.72)
    for interval in report._intervals:
        if interval.lane in rows:
            axes.barh(
                rows[interval.lane],
                interval.end - interval.begin,
                left=interval.begin,
                color=_COLOURS[interval.stage],
                height=0.72,
            )
    axes.set_xlim(0, last)
    axes.xaxis.set_major_formatter(lambda at, _: format_time(at).replace("us", "µs") if at else "0")
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title("Some steps as they went by", fontsize=10, loc="left")
    _finish(axes, lanes)


def _finish(axes: Axes, lanes: list[Lane]) -> None:
    axes.set_yticks(range(len(lanes)), list(map(_name, lanes)), fontsize=8)
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
