"""What the command line prints: errors of writing, and names that a terminal cannot show."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from io import StringIO, TextIOWrapper
from typing import TextIO

from .errors import CommandError


class OutputError(CommandError):
    """Standard output takes no more; the cause is what the system said."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"the output cannot be written: {cause.strerror or cause}")
        self.nobody_reads = isinstance(cause, BrokenPipeError)  # `demo | head`


class _Stream:
    """Another stream, but for what a subclass defines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


class _Output(_Stream):
    """Its errors are OutputErrors: argparse would pass over an OSError."""

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


class _Errors(_Stream):
    """Where it takes no more, what is written is lost."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            discard(self._stream)


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
    """Within it, standard error that is full or closed changes neither exit status nor output."""
    # print() writes to standard output where the other one is None.
    errors = StringIO() if sys.stderr is None else _Errors(sys.stderr)
    with contextlib.redirect_stderr(errors):
        try:
            yield
        finally:
            errors.flush()


def discard(stream: TextIO | None) -> None:
    """Forgets what could not be written, so that Python's exit does not try once more."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
