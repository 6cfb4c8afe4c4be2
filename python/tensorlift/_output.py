"""What the command line prints: errors of writing, and names that a terminal cannot show."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from typing import TextIO

from ._errors import CommandError


class OutputError(CommandError):
    """Standard output takes no more; the cause is what the system said."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"the output cannot be written: {cause.strerror or cause}")
        self.nobody_reads = isinstance(cause, BrokenPipeError)  # `demo | head`


class _Output:
    """A stream whose errors are OutputErrors: argparse would pass over an OSError."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            raise OutputError(error) from error

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise OutputError(error) from error

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextlib.contextmanager
def checked() -> Iterator[None]:
    r"""Within it, what cannot be written to standard output is an error, also at the end.

    Characters that the stream's encoding does not have are written as escapes such as `\xe9`.

    Raises:
        OutputError: a full disk, a pipe that nobody reads, standard output that is closed.
    """
    stream = sys.stdout
    if stream is None:  # as Python has it where the descriptor is closed
        raise OutputError(OSError("standard output is closed"))
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    output = _Output(stream)
    with contextlib.redirect_stdout(output):
        try:
            yield
        finally:
            output.flush()  # not while Python exits, where nobody could catch it


@contextlib.contextmanager
def forgiving_errors() -> Iterator[None]:
    """Within it, standard error that takes no more changes no exit status."""
    try:
        yield
    finally:
        if sys.stderr is not None:
            try:
                sys.stderr.flush()
            except OSError:
                discard(sys.stderr)


def complain(message: object) -> None:
    """Writes one line to standard error, if that is possible."""
    if sys.stderr is not None:  # else print() would take standard output
        with contextlib.suppress(OSError):
            print(f"tensorlift: {message}", file=sys.stderr)


def discard(stream: TextIO | None) -> None:
    """Forgets what could not be written, so that Python's exit does not try once more."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
