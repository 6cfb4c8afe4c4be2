"""Tables and progress on a terminal: with rich where it is installed, in plain text where not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from .._text import format_table


def _rich(stream_is_terminal: bool) -> bool:
    """A file or a pipe gets plain text also where rich is installed."""
    return stream_is_terminal and find_spec("rich") is not None


def print_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Collection[str] = (),
    styles: Sequence[str] = (),
) -> None:
    """Prints a table.

    Args:
        header: the columns' names.
        rows: the cells.
        right: names of columns that are aligned to the right.
        styles: a style of rich for each row; empty for none.
    """
    if not _rich(sys.stdout.isatty()):
        print(format_table(header, rows, right))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(name, justify="right" if name in right else "left")
    for number, row in enumerate(rows):
        style = styles[number] if styles else None
        table.add_row(*map(Text, row), style=style)  # Text: brackets are no markup
    Console().print(table)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[..., None]]:
    """Shows on stderr how far something is; nothing where that is no terminal.

    Args:
        title: what it is.
        total: how many steps there are.

    Yields:
        A function to be called with what begins now, and how many steps have begun with it (1).
    """
    if not sys.stderr.isatty():
        yield lambda text, steps=1: None
    elif not _rich(True):
        yield from _plain_progress(title, total)
    else:
        yield from _rich_progress(title, total)


def _plain_progress(title: str, total: int) -> Iterator[Callable[..., None]]:
    done = 0

    def begin(text: str, steps: int = 1) -> None:
        nonlocal done
        done += steps
        sys.stderr.write(f"\r\x1b[K{title} {done}/{total}  {text}"[:100])
        sys.stderr.flush()

    try:
        yield begin
    finally:
        sys.stderr.write("\r\x1b[K")


def _rich_progress(title: str, total: int) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        Remaining(),
        TextColumn("{task.description}", markup=False),
    )
    console = Console(stderr=True)
    # Drawn between measurements alone: a thread that draws would disturb them.
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=total)
        begun = 0

        def begin(text: str, steps: int = 1) -> None:
            nonlocal begun
            begun += steps
            bar.update(task, completed=max(begun - 1, 0), description=text, refresh=True)

        yield begin
