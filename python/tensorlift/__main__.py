"""`python -m tensorlift`: the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from . import __version__
from ._bench import command as bench
from ._cli import demo as _demo
from ._cli import explain_files
from ._cli import info as _info
from ._cli import output as _output
from ._cli import profile as _profile
from ._cli.errors import CommandError
from ._text import printable
from ._typing import Operation

_STATUS = """exit status: 0 done; 1 a mistake in the input or no place for the output, told in one
sentence; 2 a mistake in the command line; 130 interrupted (Ctrl-C)
"""
_EXAMPLES = """examples:
  python -m tensorlift demo                          what happens to arrays of many layouts
  python -m tensorlift explain a.npy batch.npz       shared or copied, and why
"""
_DEMO = """examples:
  python -m tensorlift demo                          a sample of many layouts
  python -m tensorlift demo a.npy batch.npz          the same for your own
"""
_EXPLAIN = """examples:
  python -m tensorlift explain a.npy batch.npz       what from_numpy would do
  python -m tensorlift explain a.npy --dtype float32
  python -m tensorlift explain *.npy --operation stack
Of the elements nothing is read, and nothing is ever unpickled.
"""
_BENCH = """examples:
  python -m tensorlift bench                         all suites; some five minutes
  python -m tensorlift bench --suite batch --plot batch.png --json batch.json
  python -m tensorlift bench --arrays 256 --shape 224,224,3 --dtype uint8
  python -m tensorlift bench --suite transfer --device cuda --sweep
Ours and each peer run turn by turn in one process on the same arrays; results are compared before
anything is timed. A ratio above 1 means that ours is faster. Peers that are missing are named.
"""
_PROFILE = """examples:
  python -m tensorlift profile train:loader          what does train.py's loader wait for?
  python -m tensorlift profile train:loader --step train:train_step --plot loader.png
The name is that of a DataLoader or DevicePrefetcher, or of a function that makes one. The module is
imported from this folder or PYTHONPATH: it runs.
"""
_INFO = """examples:
  python -m tensorlift info                          for a bug report
  python -m tensorlift info --json                   for programs
"""


def _dtype(name: str) -> torch.dtype:
    try:
        return explain_files.torch_dtype(name)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("dtype: ")) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tensorlift",
        description="Lists of NumPy arrays to PyTorch tensors.",
        epilog=_EXAMPLES + _STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tensorlift {__version__}")
    parser.set_defaults(refuse=parser.error)
    commands = parser.add_subparsers(dest="command", metavar="command")

    def add(name: str, does: str, examples: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=does,
            description=does[0].upper() + does[1:] + ".",
            epilog=examples + _STATUS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(refuse=command.error)
        return command

    demo = add("demo", "explain, convert, check and time real arrays", _DEMO)
    demo.add_argument("files", nargs="*", metavar="FILE", help=".npy or .npz; none: a sample")

    explain = add("explain", "why arrays would be shared, copied or refused", _EXPLAIN)
    explain.add_argument("files", nargs="+", metavar="FILE", help=".npy or .npz")
    explain.add_argument("--dtype", type=_dtype, metavar="NAME", help="of the tensors")
    explain.add_argument(
        "--operation", choices=get_args(Operation), default="from_numpy", help="(from_numpy)"
    )

    bench.add_options(add("bench", "compare the speed with other ways, on this machine", _BENCH))

    profile = add("profile", "say what a data loader is slow for, and what to do first", _PROFILE)
    profile.add_argument("loader", metavar="MODULE:LOADER", help="what is profiled")
    profile.add_argument("--batches", type=int, default=200, metavar="N", help="at most (200)")
    profile.add_argument("--step", metavar="MODULE:FUNCTION", help="what is done with a batch")
    profile.add_argument("--plot", type=Path, metavar="FILE", help="draw it: .png, .svg or .pdf")
    profile.add_argument("--json", action="store_true", help="as JSON")

    info = add("info", "versions, build, machine and devices", _INFO)
    info.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _run(arguments: Sequence[str] | None) -> None:
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:  # with the command's own usage, which argparse would not show
        options.refuse("unrecognized arguments: " + " ".join(map(printable, unknown)))
    if options.command is None:
        parser.print_help()
    elif options.command == "demo":
        _demo.run(options.files, print)
    elif options.command == "explain":
        print(explain_files.run(options.files, options.operation, options.dtype))
    elif options.command == "bench":
        bench.run(options)
    elif options.command == "profile":
        print(
            _profile.run(
                options.loader,
                batches=options.batches,
                step=options.step,
                plot=options.plot,
                as_json=options.json,
            )
        )
    else:
        print(_info.as_json(__version__) if options.json else _info.as_text(__version__))


@_output.forgiving_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line without the program's name; None for the process's own.

    Returns:
        The exit status, as in the help: 0, 1 or 130 (argparse itself exits with 2).
    """
    try:
        with _output.checked():
            _run(arguments)
    except _output.OutputError as error:
        _output.discard(sys.stdout)
        if not error.nobody_reads:
            print(f"tensorlift: {error}", file=sys.stderr)
        return 1
    except CommandError as error:
        print(f"tensorlift: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
