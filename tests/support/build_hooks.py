"""Runs the build backend of this source tree, as a build front end would."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from support.tree import ROOT, source_tree

BACKEND = ROOT / "python" / "build_backend"

# Compiles the extension of the current folder, and writes into its build/ alone.
BUILD = """
    from setuptools import Distribution
    from pathlib import Path
    from tensorlift_build.extension import NinjaBuildExt, tensorlift_extension
    command = NinjaBuildExt(Distribution({"ext_modules": [tensorlift_extension(Path.cwd())]}))
    command.finalize_options()
    command.build_lib = "build/lib"
    command.run()
"""


def run(
    code: str, folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs code with the build backend importable, as a build front end would."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TENSORLIFT_")}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**kept, "PYTHONPATH": str(BACKEND), **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder or source_tree(),
    )
