"""`python -m tensorlift`: a demo, and what to put into a bug report."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from . import __version__, _demo, _machine
from ._text import format_table

_EXAMPLES = """examples:
  python -m tensorlift demo                      what happens to arrays of many layouts
  python -m tensorlift demo a.npy batch.npz      the same for your own
  python -m tensorlift info                      versions and devices, for a bug report
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tensorlift",
        description="Lists of NumPy arrays to PyTorch tensors.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tensorlift {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    demo = commands.add_parser(
        "demo", help="explain, convert, check and time", description=_demo.__doc__
    )
    demo.add_argument("files", nargs="*", metavar="FILE", help=".npy or .npz; none: a sample")
    commands.add_parser("info", help="versions, build, threads, devices")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line without the program's name; None for the process's own.

    Returns:
        The exit status: 0, or 1 after a mistake of the user (argparse itself exits with 2).
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command == "demo":
            _demo.run(_demo.load(options.files) if options.files else _demo.sample(), print)
        else:
            facts = _machine.describe(__version__)
            print(format_table(("what", "which"), list(facts.items())))
    except _demo.UserError as error:
        print(f"tensorlift: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `demo | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
