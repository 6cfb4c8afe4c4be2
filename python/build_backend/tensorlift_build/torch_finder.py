"""Where is the torch that the extension will run on?"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OLDEST_TORCH = (2, 8)
SUPPORTED_TORCH = "torch>=2.8,<2.16"  # asked for where no torch is installed at all
TORCH_PYTHON = "TENSORLIFT_TORCH_PYTHON"

_NO_TORCH = 3  # exit status of the probe

# Run by the interpreter in question, so that its .pth files, user site and source checkouts count.
# torch is found but not imported: 30 ms instead of 2 s, in each of the hooks of one installation.
_PROBE = f"""
import importlib.util, json, os, runpy, sys, sysconfig
spec = importlib.util.find_spec("torch")
if spec is None or not spec.origin:
    sys.exit({_NO_TORCH})
root = os.path.dirname(os.path.abspath(spec.origin))
if not os.path.isdir(os.path.join(root, "include", "ATen")):
    sys.exit("torch in " + root + " has no C++ headers")
version = runpy.run_path(os.path.join(root, "version.py"))["__version__"]
print(json.dumps([str(version), root, sysconfig.get_config_var("EXT_SUFFIX")]))
"""


@dataclass(frozen=True)
class Torch:
    """An installed torch: its version and the folder with `include/` and `lib/`."""

    version: str
    root: Path


def _candidates() -> Iterator[tuple[str, bool]]:
    """Yields (interpreter, keep this process's Python variables?), the surest first."""
    if chosen := os.environ.get(TORCH_PYTHON):
        yield chosen, False
        return
    yield sys.executable, True  # no isolation, or torch came with the build requirements
    # pip runs the hooks under the target's interpreter, kept apart by environment variables.
    yield sys.executable, False
    if "pip-build-env-" in os.environ.get("PYTHONPATH", ""):
        return  # pip: the target has been asked, any other environment would be a guess
    # uv and `build` run the hooks in a throw-away venv; the user's is the active one, or ./.venv.
    executable = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    variables = ("VIRTUAL_ENV", "CONDA_PREFIX", "UV_PROJECT_ENVIRONMENT")
    roots = [Path(os.environ[name]) for name in variables if os.environ.get(name)]
    roots += [Path(d).parent for d in os.environ.get("PATH", "").split(os.pathsep) if d]
    roots += [Path(os.environ["PWD"], ".venv")] if "PWD" in os.environ else []
    for root in roots:
        is_environment = (root / "pyvenv.cfg").exists() or (root / "conda-meta").is_dir()
        if (
            is_environment
            and (root / executable).exists()
            and root.resolve() != Path(sys.prefix).resolve()
        ):
            yield str(root / executable), False


def _probe(python: str, keep_variables: bool) -> Torch | None:
    hidden = () if keep_variables else ("PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONHOME")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    try:
        found = subprocess.run(
            [python, "-c", _PROBE],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise SystemExit(
            f"tensorlift: cannot run {python}: {error}. Check {TORCH_PYTHON}."
        ) from None
    if found.returncode == _NO_TORCH:
        return None
    if found.returncode != 0:
        print(f"tensorlift: {python}: {found.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    version, root, extension_suffix = json.loads(found.stdout.splitlines()[-1])
    if extension_suffix != sysconfig.get_config_var("EXT_SUFFIX"):
        return None  # another Python version: a binary built here would not load there
    return Torch(version, Path(root))


def check_supported(torch: Torch) -> None:
    """Ends the build with one sentence where `torch` is too old for the sources."""
    release = tuple(int(part) for part in torch.version.split(".")[:2])
    if release < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise SystemExit(
            f"tensorlift: expected torch {oldest} or newer, got torch {torch.version} in "
            f"{torch.root}. Run: pip install 'torch>={oldest}', then install tensorlift again."
        )


@functools.lru_cache(maxsize=1)
def find_torch() -> Torch | None:
    """The installed torch that the extension will run on; None where there is none.

    Raises:
        SystemExit: it is too old.
    """
    for python, keep_variables in dict.fromkeys(_candidates()):
        if torch := _probe(python, keep_variables):
            check_supported(torch)
            print(
                f"tensorlift: building against torch {torch.version} in {torch.root}",
                file=sys.stderr,
            )
            return torch
    return None
