"""What ends a command of the command line."""

from __future__ import annotations


class CommandError(Exception):
    """Told in one sentence, without a traceback: mostly a mistake of the user."""
