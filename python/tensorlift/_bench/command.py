"""The command line of `python -m tensorlift bench`."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import tensorlift

from .._cli import machine as _machine
from .._cli.errors import CommandError
from .._cli.terminal import print_table, progress
from .._cli.written import check_plot, check_writable, written
from .._text import printable
from . import batch, cast, convert, loader, own, ragged, report, samples, transfer
from .harness import Result, Settings, Suite, check, measure

SUITES: Mapping[str, Suite] = {
    module.SUITE.name: module.SUITE
    for module in (convert, cast, batch, ragged, loader, samples, transfer)
}
_QUIET = 0.25  # of the cores: more work by others shows in the times


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text}")
    return number


def _seconds(text: str) -> float:
    if not 0 < (number := float(text)) < 1e6:
        raise argparse.ArgumentTypeError(f"expected a time above 0, got {text}")
    return number


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.replace(" ", "").strip("()").rstrip(",")
    if re.fullmatch(r"(\d+([,x]\d+)*)?", sizes) is None:
        raise argparse.ArgumentTypeError(f"expected sizes such as 3,224,224, got {text!r}")
    return tuple(map(int, re.findall(r"\d+", sizes)))


def _dtype(text: str) -> np.dtype[np.generic]:
    try:
        dtype = np.dtype(text)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biufc" or dtype.itemsize > 16 or dtype == np.longdouble:
        raise argparse.ArgumentTypeError(
            f"expected a NumPy dtype of numbers such as uint8, got {text!r}"
        )
    return dtype


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `bench`."""
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--suite", choices=[*SUITES, "all"], default="all", help="which question (default: all)"
    )
    what.add_argument("--only", metavar="TEXT", default="", help="cases whose name contains it")
    what.add_argument("--seconds", type=_seconds, default=2.0, help="for each case (default: 2)")
    what.add_argument("--quick", action="store_true", help="small inputs, to see that it runs")
    own_arrays = parser.add_argument_group("arrays like yours, instead of the project's")
    own_arrays.add_argument("--arrays", type=_positive, metavar="N", help="how many (1000)")
    own_arrays.add_argument(
        "--shape", type=_shape, metavar="SIZES", help="of each: 3,224,224 (64); '' for scalars"
    )
    own_arrays.add_argument("--dtype", type=_dtype, metavar="NAME", help="of NumPy (float32)")
    device = parser.add_argument_group("transfers")
    device.add_argument("--device", metavar="TYPE", help="such as cuda; default: what torch finds")
    device.add_argument(
        "--sweep", action="store_true", help="try all settings of tensorlift.staging as well"
    )
    kept = parser.add_argument_group("what is kept")
    kept.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    kept.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw them: .png, .svg or .pdf (needs matplotlib)",
    )


def _check_files(options: argparse.Namespace) -> None:
    """What cannot be written in the end is said at the beginning."""
    if options.json is not None:
        check_writable(options.json)
    if options.plot is not None:
        check_plot(options.plot)


def _chosen(options: argparse.Namespace) -> list[Suite]:
    """The suites that the options name, on the project's arrays or on some like the user's."""
    suites = SUITES
    if (options.arrays, options.shape, options.dtype) != (None, None, None):
        workload = own.Workload(
            1000 if options.arrays is None else options.arrays,
            (64,) if options.shape is None else options.shape,
            np.dtype(np.float32) if options.dtype is None else options.dtype,
        )
        workload.check()
        suites = own.suites(workload)
    return list(suites.values()) if options.suite == "all" else [suites[options.suite]]


def _measure(suite: Suite, settings: Settings) -> tuple[list[Result], list[str]]:
    """Checks and times the cases of a suite; also which peers were left out, and why."""
    results: list[Result] = []
    left_out: list[str] = []
    cases = suite.cases(settings)
    with progress(suite.name, len(cases)) as begin:
        for make in cases:
            made = make()
            begin(made.name)
            if settings.only in made.name:
                case, missing = check(made)
                left_out += missing
                results += measure(case, 0.05 if settings.quick else settings.seconds)
                del case
            del made  # before the next one: some are large
    return results, list(dict.fromkeys(left_out))


def _run(suite: Suite, settings: Settings) -> list[Result]:
    """Runs a suite and prints what came out."""
    print(f"{suite.name}: {suite.question}\n", flush=True)
    results, left_out = _measure(suite, settings)
    if report.cells(results):
        report.show_grid(results)
    elif results:
        report.show(results)
    else:
        print("Nothing was compared.")
    for line in left_out:
        print(f"left out: {line}")
    for extra in () if settings.only else suite.extras(settings):
        print(f"\n{extra.text}")
        results.append(extra.result)
    print(flush=True)
    return [{"suite": suite.name, **result} for result in results]


def run(options: argparse.Namespace) -> None:
    """Runs the suites that the options name, and writes what they ask for.

    Args:
        options: as of :func:`add_options`.

    Raises:
        CommandError: an option asks for what is not there; two ways give different results.
    """
    _check_files(options)
    suites = _chosen(options)
    device = transfer.find_device(options.device)
    if device is None and options.suite == "transfer":
        raise CommandError("the suite transfer needs an accelerator that torch can use: none found")
    if device is None:
        suites = [suite for suite in suites if suite.name != "transfer"]
    settings = Settings(options.seconds, options.quick, options.only, device, options.sweep)

    machine = _machine.describe(tensorlift.__version__)
    print_table(("machine", ""), list(machine.items()))
    busy, there_are = _machine.busy_cores(), os.cpu_count() or 1
    if busy > _QUIET * there_are:
        print(f"This machine is busy: load {busy:.1f} on {there_are} cores. Times will vary.")
    print()
    results = [result for suite in suites for result in _run(suite, settings)]
    if options.only and not results:
        raise CommandError(f"--only {printable(options.only)}: no case has such a name")
    if device is None and options.suite == "all":
        print("The suite transfer was left out: torch finds no accelerator here.")
    if options.json is not None:
        questions = [suite.question for suite in suites]
        with written(options.json):
            report.write_json(options.json, report.document(questions, machine, results))
    if options.plot is not None:
        _plot(results, machine, options.plot)


def _plot(results: Sequence[Result], machine: Mapping[str, str], path: Path) -> None:
    from . import plots

    drawn = plots.figure(results, machine)
    if drawn is None:
        name = printable(path)
        raise CommandError(f"{name}: not written: there is no result to draw")
    with written(path):
        plots.save(drawn, path)
    print(f"Plots: {printable(path)}")
