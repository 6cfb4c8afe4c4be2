"""Says in one sentence that torch does not work in subinterpreters: there its import hangs."""

from __future__ import annotations

import importlib
import sys


def refuse_subinterpreter() -> None:
    """To be called before torch is imported.

    Raises:
        ImportError: this is not the main interpreter.
    """
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    try:
        interpreters = importlib.import_module(name)
    except ImportError:  # a Python without them
        return
    if interpreters.get_current() != interpreters.get_main():
        raise ImportError(
            "tensorlift: expected the main interpreter, got a subinterpreter, in which torch "
            "cannot be used (its import waits for ever). Use threads or processes."
        )
