"""PEP 517 backend: setuptools, compiled against the torch that is already installed.

A torch extension only runs on the torch minor version that it was compiled against. Under build
isolation pip would fetch a second torch (gigabytes, often another version), so the field tells its
users `--no-build-isolation`. This backend looks for the torch of the environment that is being
installed into and compiles against that one in place. Only where there is none does it ask for one.
"""

from __future__ import annotations

from typing import Any

import setuptools

# Without isolation the front end takes whatever is there, and an old setuptools refuses
# pyproject.toml in a page of words.
if int(setuptools.__version__.split(".")[0]) < 77:
    raise SystemExit(
        f"tensorlift: expected setuptools 77 or newer to build with, got {setuptools.__version__}. "
        "Leave out --no-build-isolation, or run: pip install -U setuptools ninja 'numpy>=2'"
    )

from setuptools import build_meta as _setuptools
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from .torch_finder import SUPPORTED_TORCH, find_torch

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def _with_torch(requires: list[str]) -> list[str]:
    return requires if find_torch() else [*requires, SUPPORTED_TORCH]


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """Setuptools' own requirements, and a supported torch where none is installed."""
    return _with_torch(_setuptools.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_editable(config_settings: dict[str, Any] | None = None) -> list[str]:
    """Setuptools' own requirements, and a supported torch where none is installed."""
    return _with_torch(_setuptools.get_requires_for_build_editable(config_settings))
